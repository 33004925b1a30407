"""The sandboxed Python side of nki-agent: mains and handlers of warm parents."""

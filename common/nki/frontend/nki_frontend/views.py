"""Views of tensors: reshape, expand_dims, broadcast_to."""

from __future__ import annotations

import math

from . import context
from .access import apply
from .context import Buffer, current
from .errors import NkiError
from .expr import Expr
from .indexing import substitute
from .tile import Tensor, fresh, identity, mark, on_chip, partition_limit, settle


def reshape(tensor: Tensor, shape: object) -> Tensor:
    """View of all elements of `tensor`, in row-major order, under another shape."""
    want = [int(s) for s in (shape if isinstance(shape, (tuple, list)) else (shape,))]
    if -1 in want:
        known = math.prod(n for n in want if n != -1)
        want[want.index(-1)] = tensor.size // known if known else 0
    target = tuple(want)
    if math.prod(target) != tensor.size or not target:
        raise NkiError(
            "err_reshape_size_mismatch",
            f"tensor '{tensor.buffer.name}' of shape {tensor.shape} can't be reshaped to {target}",
            limit=f"{tensor.size} elements",
            actual=f"{math.prod(target)} elements",
        )
    if target == tensor.shape:
        return tensor[...]
    settle(tensor)
    parts = _affine_parts(tensor, target)
    if parts is not None:
        index = tuple(substitute(e, parts, target) for e in tensor.index)
        mask = tuple(substitute(m, parts, target) for m in tensor.mask)
        return Tensor(tensor.buffer, target, index, mask, tensor.runtime)
    if tensor.runtime is None and not tensor.mask:
        whole = tensor.shape == tensor.buffer.shape and _is_identity(tensor)
        if whole and (context.is_hbm(tensor.buffer.buffer) or _keeps_partitions(tensor, target)):
            return Tensor(view_buffer(tensor.buffer, target, _partition_axis(tensor, target)))
        flat = _flattened(tensor)
        if flat is not None:
            parts = _affine_parts(flat, target)
            if parts is not None:
                return Tensor(flat.buffer, target, tuple(substitute(e, parts, target) for e in flat.index))
    raise NkiError(
        "err_reshape_not_supported",
        f"the view of tensor '{tensor.buffer.name}' with shape {tensor.shape} is not contiguous and can't be "
        f"reshaped to {target}",
        hint="copy the tile first, or reshape the whole tensor",
    )


def _is_identity(tensor: Tensor) -> bool:
    return all(
        e.const == 0 and not e.terms and e.coefs == i.coefs
        for e, i in zip(tensor.index, identity(tensor.buffer.shape), strict=False)
    )


def _partition_axis(tensor: Tensor, target: tuple) -> int:
    axis = tensor.buffer.partition_axis
    return 0 if axis == 0 else axis


def _keeps_partitions(tensor: Tensor, target: tuple) -> bool:
    axis = tensor.buffer.partition_axis
    return len(target) > axis and target[: axis + 1] == tensor.buffer.shape[: axis + 1]


def view_buffer(base: Buffer, shape: tuple, partition_axis: int) -> Buffer:
    """The storage of a tensor under another shape."""
    storage = base.storage()
    view = Buffer(
        current().unique_name(f"{storage.name}_view"),
        storage.buffer,
        base.dtype,
        shape,
        partition_axis=partition_axis,
        scope=storage.scope,
        base=storage,
        loc=storage.loc,
    )
    view.bits_of = base.bits_of
    return view


def _flattened(tensor: Tensor) -> Tensor | None:
    """The same tile of a view with one axis (HBM), or with the partition axis and one free axis (on chip)."""
    buffer = tensor.buffer
    strides = [math.prod(buffer.shape[k + 1 :]) for k in range(len(buffer.shape))]
    first = 0 if context.is_hbm(buffer.buffer) else 1
    if first and (buffer.partition_axis != 0 or len(buffer.shape) < 2):
        return None
    linear = Expr(0, (), tensor.shape, (0,) * len(tensor.shape))
    for e, stride in list(zip(tensor.index, strides, strict=False))[first:]:
        linear = linear + e * stride
    if first:
        view = view_buffer(buffer, (buffer.shape[0], math.prod(buffer.shape[1:])), 0)
        return Tensor(view, tensor.shape, (tensor.index[0], linear))
    return Tensor(view_buffer(buffer, (math.prod(buffer.shape),), 0), tensor.shape, (linear,))


def _affine_parts(tensor: Tensor, target: tuple) -> list | None:
    """For each old dimension an expression over the new ones; None if a merged dimension is not affine."""
    groups = _groups(tensor.shape, target)
    if groups is None:
        return None
    rank = len(target)
    parts: list = [Expr(0, (), target, (0,) * rank) for _ in tensor.shape]
    for old, new in groups:
        old = [d for d in old if tensor.shape[d] > 1]
        new = [d for d in new if target[d] > 1]
        if not old:
            continue
        if len(old) > 1:
            # Merging is exact only where the old dimensions already walk like one: stride of d = stride of
            # the next one times its size, in every index expression.
            for e in tensor.index + tensor.mask:
                for a, b in zip(old, old[1:], strict=False):
                    if e.coefs[a] != e.coefs[b] * tensor.shape[b]:
                        return None
        # The last old dimension takes the whole walk: its coefficient is the stride of one step.
        coefs = [0] * rank
        step = 1
        for d in reversed(new):
            coefs[d] = step
            step *= target[d]
        parts[old[-1]] = Expr(0, (), target, tuple(coefs))
    return parts


def _groups(old: tuple, new: tuple) -> list | None:
    """Runs of old and new dimensions with equal products."""
    out, i, j = [], 0, 0
    while i < len(old) or j < len(new):
        a, b = ([i] if i < len(old) else []), ([j] if j < len(new) else [])
        m = old[i] if a else 1
        n = new[j] if b else 1
        i, j = i + len(a), j + len(b)
        while m != n:
            if m < n:
                if i >= len(old):
                    return None
                m *= old[i]
                a.append(i)
                i += 1
            else:
                if j >= len(new):
                    return None
                n *= new[j]
                b.append(j)
                j += 1
        out.append((a, b))
    return out


def expand_dims(tensor: Tensor, axis: object) -> Tensor:
    """View with axes of size 1 inserted."""
    axes = [int(a) for a in axis] if isinstance(axis, (tuple, list)) else [int(axis)]
    rank = len(tensor.shape) + len(axes)
    where = sorted(a % rank for a in axes)
    shape = list(tensor.shape)
    for a in where:
        shape.insert(a, 1)
    return reshape(tensor, tuple(shape))


def broadcast_to(tensor: Tensor, shape: tuple) -> Tensor:
    """Larger axes: free ones by a view, partitions by an instruction that copies one partition to all."""
    if context.is_hbm(tensor.buffer.buffer):
        return _broadcast_view(tensor, shape)
    if tensor.shape == shape:
        return tensor[...]
    access = on_chip(tensor, "src")
    own = access.shape
    if len(own) > len(shape):
        own = own[: len(shape)] if all(n == 1 for n in own[len(shape) :]) else own
    grows = own[0] == 1 and shape[0] != 1
    rank = len(shape)
    aligned = own[:1] + (1,) * (rank - len(own)) + own[1:]
    if len(aligned) != rank or any(a not in (1, b) for a, b in zip(aligned, shape, strict=False)):
        raise NkiError(
            "err_shape_mismatch",
            f"tensor '{tensor.buffer.name}' of shape {tensor.shape} can't be broadcast to {shape}",
            limit=shape,
            actual=tensor.shape,
            hint="axes of size 1 can be broadcast",
        )
    gap = rank - len(own)
    mapping = [0] + [d + gap for d in range(1, len(own))] + [None] * (len(access.shape) - len(own))
    if not grows:
        out = apply(access, mapping, shape)
        return Tensor(tensor.buffer, shape, out.index, out.mask)
    if shape[0] > 128:
        raise partition_limit(shape[0], "broadcast_to")
    narrow = (1,) + aligned[1:]
    source = apply(access, mapping, narrow)
    result = fresh((shape[0],) + narrow[1:], tensor.dtype, name=f"{tensor.buffer.name}_bcast")
    instr = current().emit("partition_broadcast", [on_chip(result, "dst")], [source])
    if result.shape == shape:
        return mark(result, instr)
    return broadcast_to(result, shape)


def _broadcast_view(tensor: Tensor, shape: tuple) -> Tensor:
    gap = len(shape) - len(tensor.shape)
    if gap < 0 or any(a not in (1, b) for a, b in zip(tensor.shape, shape[gap:], strict=False)):
        raise NkiError(
            "err_shape_mismatch",
            f"tensor '{tensor.buffer.name}' of shape {tensor.shape} can't be broadcast to {shape}",
            limit=shape,
            actual=tensor.shape,
        )

    def widen(e: Expr) -> Expr:
        return Expr(
            e.const,
            e.terms,
            shape,
            (0,) * gap + tuple(k if n > 1 else 0 for k, n in zip(e.coefs, tensor.shape, strict=False)),
        )

    return Tensor(
        tensor.buffer, shape, tuple(widen(e) for e in tensor.index), tuple(widen(m) for m in tensor.mask)
    )

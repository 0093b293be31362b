"""Erasures on their way from S1 to S2, which looks at each as its client signed it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pura.errors import ProtocolError, PuraError
from pura.ids import Commitment, Epoch, GroupId, Handle, RequestId, TxnId
from pura.messages import Message, message
from pura.rounds import Rounds, send
from pura_server.claims import Gate, Order
from pura_server.verdicts import ruled, verdicts

_HANDLE = np.dtype(">u8")


@message
class EraseOpen(Message):
    """S1 -> S2: these entries are to be erased, 8 bytes each; those that are not there count as erased.

    handles to signature: as a client sent them; `client` is its commitment to a certificate, `group` names the key that
    it signed with.
    """

    txn: bytes
    digest: bytes
    handles: bytes
    request: bytes
    epoch: bytes
    client: bytes
    group: bytes
    signature: bytes


def present(there: NDArray[np.uint64], handles: Sequence[Handle]) -> list[Handle]:
    """Those of some entries that there are, each once, in the order named."""
    named = np.array(list(dict.fromkeys(handles)), np.uint64)
    return [Handle(handle) for handle in named[np.isin(named, there)].tolist()]


def ask_to_erase(txn: TxnId, digest: bytes, handles: Sequence[Handle], order: Order) -> Rounds[PuraError | None]:
    """S1's side: why S2 refuses, or None. `digest`: of the gallery."""
    named = np.array(handles, np.uint64).astype(_HANDLE).tobytes()
    yield from send(
        EraseOpen(txn, digest, named, order.request, order.epoch, order.client, order.group, order.signature)
    )
    (refusal,) = yield from verdicts(1)
    return refusal


def permit(gate: Gate, there: NDArray[np.uint64], opening: EraseOpen) -> Rounds[list[Handle]]:
    """S2's side: what S1 found by `present`; nothing if the client's group may not have it erased. Raises
    `ProtocolError`."""
    if len(opening.handles) % _HANDLE.itemsize:
        raise ProtocolError(detail="handles to erase")
    named = [Handle(handle) for handle in np.frombuffer(opening.handles, _HANDLE).tolist()]
    wanted = present(there, named)
    if not wanted:
        raise ProtocolError(detail="nothing to erase")
    request, epoch, group = RequestId(opening.request), Epoch(opening.epoch), GroupId(opening.group)
    order = Order(request, epoch, Commitment(opening.client), group, opening.signature)
    passes = yield from ruled(lambda: gate.erasure(named, len(wanted), order))
    return wanted if passes else []

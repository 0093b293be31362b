"""Other labels for entries that are there: what a client asks for, and by which roster it believes that it was done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pura.crypto.context import NewLabel, label_hash
from pura.crypto.rng import Rng
from pura.errors import DeviatingServer, LabelConflict
from pura.ids import Handle
from pura_client.labels import LabelCipher, normalise
from pura_client.roster import CheckedRoster


def wishes(roster: CheckedRoster, cipher: LabelCipher, labels: Mapping[Handle, str], rng: Rng) -> Sequence[NewLabel]:
    """The labels that some entries are to have, each sealed for its own enrolment; entries that are not there are left
    out. Raises `OutOfRange`."""
    texts = {handle: normalise(text) for handle, text in labels.items()}
    found = [(roster.listed(handle), text) for handle, text in texts.items()]
    return [
        NewLabel(one.handle, label_hash(one.label), cipher.seal(text, one.enrolment_id, rng))
        for one, text in found
        if one is not None
    ]


def believe(roster: CheckedRoster, wanted: Sequence[NewLabel]) -> None:
    """S1 says that it is done, and the roster was brought up to date since. Raises `DeviatingServer` for an entry that
    has its old label, and `LabelConflict` for one that has a third by now."""
    for one in wanted:
        listed = roster.listed(one.handle)
        if listed is not None and label_hash(listed.label) == one.before:
            raise DeviatingServer("S1 says that a label was changed, and the roster that S2 signed has the old one")
        if listed is not None and listed.label != one.label:
            raise LabelConflict()

"""Enrol the rows of an .npy file: `python examples/import_npy.py client.toml people.npy labels.txt`.

The same from the command line: `pura import people.npy --labels labels.txt --ready`. Run again, it enrols nobody twice.
"""

import sys
from pathlib import Path

import pura_client
from pura_client import Ready
from pura_client.embeddings import rows


def main(config: str, numbers: str, labels: str) -> None:
    """One outcome for each row, whatever happens to the others."""
    with pura_client.connect(config) as pura:
        people = rows(Path(numbers), Ready, labels=Path(labels)).enrolments
        for one in pura.enroll_many(people):
            print(one.label, "was there" if one.already else one.error.code if one.error else "enrolled")


if __name__ == "__main__":
    main(*sys.argv[1:4])

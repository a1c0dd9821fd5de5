"""Headings for the groups of a study whose trials are not compared, from the names of their arms."""

import dataclasses
from collections.abc import Sequence

from harness.record import Record
from harness.report.html import Group


def alike(records: Sequence[Record]) -> str:
    """The parts of their names that all arms have: of 'lora.rank=1,seed=5' and 'full,seed=5', 'seed=5'."""
    arms = [entry.arm.split(",") for entry in records]
    return ",".join(part for part in arms[0] if all(part in arm for arm in arms))


def shortened(group: Group) -> Group:
    """The group with arms named by what tells them apart from each other, as its title has the rest."""
    said = set(group.alike.split(","))

    def short(arm: str) -> str:
        return ",".join(part for part in arm.split(",") if part not in said) or arm

    confirmed = group.confirmed
    if confirmed is not None:
        arms = [dataclasses.replace(each, arm=short(each.arm)) for each in confirmed.arms]
        confirmed = dataclasses.replace(confirmed, arms=arms, reference=short(confirmed.reference))
    return dataclasses.replace(
        group,
        records=[dataclasses.replace(entry, arm=short(entry.arm)) for entry in group.records],
        results=[dataclasses.replace(each, arm=short(each.arm)) for each in group.results],
        confirmed=confirmed,
    )

"""What ``quant verify`` found. What belongs here: the report and its JSON Schema.

``python -m quant_assets.cli.verify_report`` writes the schema beside this module.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

SCHEMA_PATH = Path(__file__).with_name("verify_report.schema.json")
Verdict = Literal["equal", "drift", "look_ahead", "damaged", "unverifiable"]
Code = Literal[
    "content",
    "code_version",
    "schema_version",
    "input_newer",
    "unreadable",
    "hash_mismatch",
    "no_raw_answer",
    "input_missing",
    "from_kafka",
    "failed",
    "future",
]


class Reason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a verdict is as it is."""

    code: Annotated[Code, Meta(description="For programs.")]
    text: Annotated[str, Meta(description="For people.")]


class Difference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How stored rows and recomputed ones differ."""

    columns: Annotated[tuple[str, ...], Meta(description="Columns with other values.")] = ()
    rows_changed: Annotated[int, Meta(ge=0, description="Rows with other values.")] = 0
    rows_only_stored: Annotated[int, Meta(ge=0, description="Rows that are not made again.")] = 0
    rows_only_recomputed: Annotated[int, Meta(ge=0, description="Rows that are not stored.")] = 0
    examples: Annotated[tuple[str, ...], Meta(description="Some of them, in words.")] = ()

    @property
    def is_real(self) -> bool:
        """Whether anything is other than by the last bits of a number."""
        return bool(self.columns or self.rows_only_stored or self.rows_only_recomputed)


class Partition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was found of one stored partition."""

    asset: Annotated[str, Meta(description="Key of the asset, such as us/prices.")]
    partition: Annotated[str, Meta(description="Key of the partition.")]
    verdict: Annotated[
        Verdict,
        Meta(
            description="equal: made again with the same rows (numbers to 1e-9) by the same "
            "version. drift: with others, or by another version. look_ahead: it rests on what "
            "became known after its decision (`quant verify lookahead`). damaged: the file is not "
            "what was written. unverifiable: it cannot be made again."
        ),
    ]
    reasons: Annotated[tuple[Reason, ...], Meta(description="Empty where it is equal.")] = ()
    stored_hash: Annotated[str, Meta(description="Content hash in the file, empty if none.")] = ""
    recomputed_hash: Annotated[str, Meta(description="Of what was made again, empty if not.")] = ""
    difference: Annotated[
        Difference | None, Meta(description="Only where the content differs.")
    ] = None

    @property
    def is_bad(self) -> bool:
        """Whether somebody has to look at it."""
        return self.verdict in ("drift", "look_ahead", "damaged")


class VerifyReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a sample of the stored partitions is worth."""

    profile: Annotated[str, Meta(description="Profile whose data was verified.")]
    seed: Annotated[int, Meta(description="Draws the same sample of the same partitions.")]
    stored: Annotated[int, Meta(ge=0, description="Partitions that the sample is drawn from.")]
    partitions: Annotated[tuple[Partition, ...], Meta(description="The sample.")] = ()

    @property
    def is_bad(self) -> bool:
        """Whether any partition drifted, looks ahead or is damaged."""
        return any(one.is_bad for one in self.partitions)


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a report."""
    found = msgspec.json.schema(VerifyReport)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


if __name__ == "__main__":
    SCHEMA_PATH.write_text(json.dumps(schema(), indent=2) + "\n", encoding="utf-8")

"""What versioned configurations share: reading fields by name, and their version.

Does not belong here: any one configuration, any import of pandas: the settings import this.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from quant_assets.errors import BadConfigurationError


def demand_fields(owner: type, values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """``values`` as arguments of ``owner``; an unknown name lists the known ones."""
    allowed = [field.name for field in fields(owner)]
    if unknown := sorted(set(values) - set(allowed)):
        raise BadConfigurationError(
            f"{prefix}.{unknown[0]} is not a field; allowed are {', '.join(allowed)}"
        )
    return dict(values)


def version_of(values: Mapping[str, Any]) -> str:
    """First 12 hexadecimal digits of the SHA-256 of ``values``."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]

"""What makes two runs the same experiment."""

import hashlib
import json
from typing import Any

# Where a run lies, what it is called and how often it speaks do not change what it computes.
NOT_PART = ("outputs", "data_dir", "name", "log_every", "checkpoint_every")


def signature(plain: dict[str, Any]) -> str:
    """Eight hexadecimal digits of the values, however they came about."""
    part = {key: value for key, value in plain.items() if key not in NOT_PART}
    text = json.dumps(part, sort_keys=True, separators=(",", ":"))
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:8]

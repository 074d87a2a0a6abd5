"""What an API server would refuse of a launcher although the VMI was admitted.

Asked before a Pod is sent, since not every server checks built-in kinds to the last field.

Source: k8s.io/kubernetes/pkg/apis/core/validation (ValidatePodSpec).
"""

from __future__ import annotations

import random
import string

from kvtui.api.core.pod import Pod

_ALPHABET = string.ascii_lowercase + string.digits


def problem_of(pod: Pod) -> str | None:
    """The refusal as the server words it; None when there is none."""
    for field, value in (("hostname", pod.spec.hostname), ("subdomain", pod.spec.subdomain)):
        if "." in value:
            name = pod.metadata.name or pod.metadata.generate_name + _suffix()
            return f'Pod "{name}" is invalid: spec.{field}: Invalid value: "{value}": must not contain dots'
    return None


def _suffix() -> str:
    return "".join(random.choices(_ALPHABET, k=5))  # noqa: S311  # part of a name that nobody will see again

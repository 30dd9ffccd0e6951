import json
import math
from typing import Any

import IPython.display
import numpy as np
import pytest
import torch

from nglib import claims
from nglib.claims import Claim


def claim(**changes: Any) -> Claim:
    return Claim(
        **{
            "name": "error",
            "says": "The error falls by half.",
            "where": "Table 2",
            "quantity": "error ratio",
            "bar": ("<=", 0.6),
            "measured": (0.52, 0.55, 0.58),
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "reproduced"),
        ({"measured": 0.6}, "reproduced"),
        ({"measured": (0.5, 0.61)}, "not reproduced"),
        ({"measured": math.nan}, "not reproduced"),
        ({"measured": None}, "not run at this scale"),
        ({"paper": 0.55}, "reproduced"),
        ({"paper": 0.6}, "better"),
        ({"measured": 0.5, "paper": 0.5}, "reproduced"),
        ({"bar": (">", 0.5), "paper": 0.5}, "better"),
        ({"bar": (">=", 0.53)}, "not reproduced"),
        ({"bar": ("<", 0.6), "measured": 0.6}, "not reproduced"),
    ],
)
def test_verdict(changes: dict[str, Any], verdict: str) -> None:
    assert claim(**changes).verdict == verdict


@pytest.mark.parametrize("measured", [[0.5, 0.25], np.array([0.5, 0.25]), torch.tensor([0.5, 0.25])])
def test_measurements_become_numbers(measured: Any) -> None:
    assert claim(measured=measured).measured == (0.5, 0.25)
    assert claim(measured=measured[0]).measured == (0.5,)


def test_wrong_claims() -> None:
    with pytest.raises(ValueError, match=r"bar of claim 'error' is \('==', 1\)"):
        claim(bar=("==", 1))
    for measured in ([], [[1.0]]):
        with pytest.raises(ValueError, match="measured of claim 'error'"):
            claim(measured=measured)
    with pytest.raises(ValueError, match="no claims"):
        claims.table()
    with pytest.raises(ValueError, match="must differ"):
        claims.table(claim(), claim())


def test_table_carries_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    out: list[dict[str, Any]] = []
    monkeypatch.setattr(IPython.display, "display", lambda data, raw: out.append(data))
    claims.table(claim(), claim(name="time", measured=None, preset="full", hardware="a large GPU"))
    (data,) = out
    records = json.loads(json.dumps(data[claims.MIME]))
    assert records[0]["verdict"] == "reproduced"
    assert records[0]["measured"] == [0.52, 0.55, 0.58]
    assert records[0]["preset"] == "laptop"
    assert records[0]["hardware"].startswith("CPU, ")
    assert (records[1]["preset"], records[1]["hardware"]) == ("full", "a large GPU")
    rows = data["text/markdown"].splitlines()
    assert len(rows) == 4
    assert "0.52, 0.55, 0.58" in rows[2]
    assert "<= 0.6" in rows[2]
    assert "not run at this scale" in rows[3]
    assert claims.as_markdown(records) == data["text/markdown"], "the ledger shows what the chapter shows"

"""What `vbench analyze` refuses of its own keys: in one line of our words, with an example of what it takes."""

import pytest

from vbench.analysis.options import parse_options
from vbench.schema.errors import Refused

PRICES = "must be dollars an hour by the name of a GPU, as prices='{h100: 2.5, a100: 1.8}'"


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("num_prompts=many", "num_prompts=many: must be a whole number of prompts, as num_prompts=80"),
        ("num_prompts=1.5", "num_prompts=1.5: must be a whole number of prompts, as num_prompts=80"),
        ("num_prompts=", "num_prompts=: must be a whole number of prompts, as num_prompts=80"),
        ("num_prompts=0", "num_prompts=0: must be 1 or more; leave it out for the largest common load"),
        ("slo=fast", "slo=fast: must be limits on x, as slo=20,50,100"),
        ("slo=nan", "slo=nan: must be limits on x, as slo=20,50,100, each above 0 and finite"),
        ("slo=20,-1", "slo=-1: must be limits on x, as slo=20,50,100, each above 0 and finite"),
        ("slo=null", "slo=null: must be limits on x, as slo=20,50,100"),
        ("prices=3", f"prices=3: {PRICES}"),
        ("prices={h100: cheap}", f"prices={{h100: cheap}}: {PRICES}"),
        ("prices={h100: 2.5", f"prices={{h100: 2.5: {PRICES}"),
        ("figures=null", "figures=null: must be formats of png, svg, pdf, as figures=png,svg; [] draws none"),
        ("y=null", "y=null: must be given in words, or left out"),
    ],
)
def test_a_value_of_another_type_is_refused_in_our_words(word, told):
    with pytest.raises(Refused) as refusal:
        parse_options([word])
    assert str(refusal.value) == told


def test_what_is_right_is_taken():
    chosen = parse_options(["num_prompts=80", "slo=[20,50.5]", "prices={h100: 2}", "figures=[]", "where=null_name"])
    assert (chosen.num_prompts, chosen.slo, chosen.prices, chosen.figures) == (80, [20.0, 50.5], {"h100": 2.0}, [])
    assert parse_options(["num_prompts=null", "experiment=null"]).experiment is None

"""Which quarantined measurements independent teams confirm."""

from hypothesis import given
from hypothesis import strategies as st

from service.submissions.repository import Claim
from service.submissions.service import AGREEMENT_LOG, agreeing

CLAIMS = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.sampled_from(["quarantined", "accepted"]), st.sampled_from("xy"), st.integers(0, 12)
    ),
    max_size=30,
)


@given(CLAIMS)
def test_a_row_is_confirmed_by_any_other_team_that_is_near(found: list[tuple[str, str, str, int]]) -> None:
    claims = [
        Claim(str(index), team, status, kind, AGREEMENT_LOG * far / 4.0)
        for index, (team, status, kind, far) in enumerate(found)
    ]
    ordered = sorted(claims, key=lambda claim: (claim.agreement_key, claim.deviation_log))
    confirmed = {
        one.id
        for one in claims
        if one.status == "quarantined"
        and any(
            other.team_id != one.team_id
            and other.agreement_key == one.agreement_key
            and abs(other.deviation_log - one.deviation_log) <= AGREEMENT_LOG
            for other in claims
        )
    }
    assert set(agreeing(ordered)) == confirmed

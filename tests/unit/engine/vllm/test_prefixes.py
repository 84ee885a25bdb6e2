"""What blocks of keys and values may be shared, by their hashes."""

import hashlib

import pytest

from snakesteer.engine.vllm.flat import flat_steering
from snakesteer.engine.vllm.prefixes import depends_on_prompt, own_hashes, salt
from snakesteer.steering.residual import ResidualSteering
from tests.vllm_models import wide_direction

BLOCK = 4


def chain(tokens, first=b""):
    """Hashes of full blocks as vLLM makes them: each of its tokens and of the one before."""
    found, last = [], first
    for start in range(0, len(tokens) - BLOCK + 1, BLOCK):
        last = hashlib.sha256(last + bytes(tokens[start : start + BLOCK])).digest()
        found.append(last)
    return found


@pytest.mark.parametrize(
    ("prompt", "shared"),
    # A block is plain if it ends in front of the last prompt token.
    [(1, 0), (4, 0), (5, 1), (8, 1), (9, 2), (13, 3), (16, 3), (17, 4)],
)
def test_blocks_are_shared_up_to_the_last_prompt_token(prompt, shared):
    plain = chain(bytes(16))
    own = own_hashes(plain, 0, BLOCK, prompt, "a")
    assert [one == other for one, other in zip(own, plain, strict=True)] == [True] * shared + [
        False
    ] * (4 - shared)
    assert not {*own[shared:]} & {*own_hashes(plain, 0, BLOCK, prompt, "b")[shared:]}


def test_blocks_that_come_later_count_from_the_text_s_beginning():
    plain = chain(bytes(16))
    assert own_hashes(plain[1:], 1, BLOCK, 9, "a")[0] == plain[1]
    assert own_hashes(plain[2:], 2, BLOCK, 9, "a")[0] != plain[2]
    assert own_hashes(plain[3:], 3, BLOCK, 9, "a")[0] != plain[3]


def test_a_steered_prompt_is_shared_within_its_steering_alone():
    everywhere, later = (
        flat_steering(ResidualSteering(1, wide_direction(), 1.0, scope=scope), None)
        for scope in ("all", "from_last_prompt_token")
    )
    assert salt(3, (everywhere,)) == salt(3, (everywhere,)) != salt(4, (everywhere,))
    assert salt(3, (later,)) is None
    assert salt(3, (later, everywhere)) is not None


@pytest.mark.parametrize(
    ("scopes", "depends"),
    [
        (["all"], False),
        (["generated_only"], True),
        (["all", "all"], False),
        (["all", "last_prompt_token"], True),
    ],
)
def test_what_depends_on_where_a_prompt_ends(scopes, depends):
    steerings = [ResidualSteering(1, wide_direction(), 1.0, scope=scope) for scope in scopes]
    assert depends_on_prompt(tuple(flat_steering(one, None) for one in steerings)) == depends

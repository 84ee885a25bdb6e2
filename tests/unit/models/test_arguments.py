from torch import nn

from snakesteer.models.arguments import cache_argument, takes
from tests.loaded_models import loaded_model


class Renamed(nn.Module):
    def forward(self, input_ids=None, cache=None, **others):
        pass


class OfOthers(nn.Module):
    def forward(self, *given, **others):
        pass


def test_it_is_the_one_that_the_model_takes_without_a_warning(recwarn):
    model = loaded_model("llama").model
    for one in (model, model.base_model):
        named = {cache_argument(one): None}
        one(input_ids=model.dummy_inputs["input_ids"] % 8, use_cache=False, **named)
    assert not [found for found in recwarn if "deprecated" in str(found.message)]
    assert cache_argument(Renamed()) == "cache"
    assert cache_argument(OfOthers()) == "past_key_values"
    assert takes(model, "logits_to_keep")
    assert not takes(model, "token_type_ids")

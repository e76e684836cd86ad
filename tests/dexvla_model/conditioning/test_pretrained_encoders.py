"""Pretrained encoders from folders in the layout of the Hugging Face hub."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    DistilBertForMaskedLM,
    DistilBertModel,
    PreTrainedTokenizerFast,
    ResNetForImageClassification,
    ResNetModel,
)

from dexvla_model.conditioning import Conditioner, image_encoder_preset, sentence_encoder_preset
from dexvla_model.conditioning.pretrained import (
    image_encoder_of_folder,
    load_image_encoder,
    load_sentence_encoder,
    sentence_encoder_of_folder,
)
from dexvla_model.errors import UserError
from dexvla_model.vlm import load_tokenizer

IMAGE = image_encoder_preset("resnet-nano", normalization="frozen_batch")
TEXT = sentence_encoder_preset("distilbert-nano", max_tokens=16, frozen=True)


@pytest.fixture
def resnet_folder(tmp_path):
    """As `microsoft/resnet-50` has it: a classifier on top, statistics that were measured."""
    torch.manual_seed(1)
    network = ResNetForImageClassification(IMAGE.to_transformers()).train()
    with torch.no_grad():
        network(torch.randn(8, 3, 64, 64))
    network.save_pretrained(tmp_path / "resnet")
    return tmp_path / "resnet"


@pytest.fixture
def bert_folder(tmp_path):
    """As `distilbert-base-uncased` has it: a language model's head on top, and a WordPiece tokenizer."""
    torch.manual_seed(2)
    folder = tmp_path / "bert"
    DistilBertForMaskedLM(TEXT.to_transformers()).save_pretrained(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "grasp", "the", "cup"]
    vocabulary = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]")
    fast.save_pretrained(folder)
    return folder


@pytest.fixture
def conditioner():
    torch.manual_seed(0)
    return Conditioner(IMAGE, TEXT, ["scene"], hidden_width=16, condition_width=8).eval()


def test_the_sizes_are_read_from_the_folder(resnet_folder, bert_folder):
    assert image_encoder_of_folder(resnet_folder, keypoints=16) == IMAGE
    assert sentence_encoder_of_folder(bert_folder) == TEXT
    assert image_encoder_of_folder(resnet_folder, pooling="average").pooling == "average"


def test_the_loaded_resnet_is_the_pretrained_one(resnet_folder, conditioner):
    load_image_encoder(conditioner, resnet_folder)
    view = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    plain = ResNetModel.from_pretrained(resnet_folder).eval()
    expected = plain(((view / 255 - mean) / std).permute(0, 3, 1, 2)).last_hidden_state
    maps = conditioner.image_encoder.feature_maps(view, torch.zeros(2, TEXT.width))
    torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-5)


def test_the_loaded_sentence_encoder_is_the_pretrained_one(bert_folder, conditioner):
    load_sentence_encoder(conditioner, bert_folder)
    tokenizer = load_tokenizer(bert_folder)
    ids = tokenizer("Grasp the cup", return_tensors="pt")["input_ids"]
    assert ids[0].tolist() == [2, 4, 5, 6, 3]
    expected = DistilBertModel.from_pretrained(bert_folder).eval()(ids).last_hidden_state.mean(dim=1)
    found = conditioner.sentence_encoder(["grasp the cup", "the"], tokenizer)
    torch.testing.assert_close(found[:1], expected, rtol=1e-4, atol=1e-5)


def test_group_norm_does_not_take_batch_norms_weights(resnet_folder):
    conditioner = Conditioner(image_encoder_preset("resnet-nano"), TEXT, ["scene"], 16, 8)
    with pytest.raises(UserError, match="image.normalization is 'group': set it to 'frozen_batch'"):
        load_image_encoder(conditioner, resnet_folder)


def test_folders_that_do_not_fit_are_named(tmp_path, resnet_folder, bert_folder, conditioner):
    with pytest.raises(UserError, match="nowhere/config.json is missing"):
        image_encoder_of_folder(tmp_path / "nowhere")
    with pytest.raises(UserError, match="model_type is 'distilbert', needed is that of a ResNet"):
        image_encoder_of_folder(bert_folder)
    with pytest.raises(UserError, match="tensor 'embedder.embedder.convolution.weight' is missing"):
        load_image_encoder(conditioner, bert_folder)
    config = json.loads((resnet_folder / "config.json").read_text())
    (resnet_folder / "config.json").write_text(json.dumps(config | {"downsample_in_bottleneck": True}))
    with pytest.raises(
        UserError, match="downsample_in_first_stage and downsample_in_bottleneck must be false"
    ):
        image_encoder_of_folder(resnet_folder)


def test_damaged_weights_are_named(resnet_folder, conditioner):
    path = resnet_folder / "model.safetensors"
    weights = load_file(path)
    name = "resnet.embedder.embedder.convolution.weight"
    save_file(weights | {name: weights[name][:8].contiguous()}, path)
    with pytest.raises(
        UserError, match=r"convolution.weight' has shape \(8, 3, 7, 7\), needed is \(16, 3, 7, 7\)"
    ):
        load_image_encoder(conditioner, resnet_folder)
    save_file(weights | {name: weights[name] * float("nan")}, path)
    with pytest.raises(UserError, match="holds values that are not finite"):
        load_image_encoder(conditioner, resnet_folder)
    path.write_bytes(b"no tensors")
    with pytest.raises(UserError, match="model.safetensors cannot be read"):
        load_image_encoder(conditioner, resnet_folder)
    path.unlink()
    with pytest.raises(UserError, match="model.safetensors is missing"):
        load_image_encoder(conditioner, resnet_folder)

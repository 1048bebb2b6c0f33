"""A vision-language model made on the spot: Qwen2.5-VL's real classes, two layers, bytes for tokens.

It is taught to rate whatever it is asked; to say that it cannot where the answer is to be a "Riddle"; and
to rate after all when told that this was wrong. `serve` puts it behind transformers' own server.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.nn import functional as F
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

RATING = '{"reason":"ok","copied":false,"score":3}'
NO_ANSWER = "I cannot say."
SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] in ('image', 'image_url') %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in part %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_model(folder: Path, steps: int = 500) -> Path:
    """The model, taught, as a folder of transformers'."""
    torch.manual_seed(0)
    torch.set_float32_matmul_precision(
        "highest"
    )  # trainings before, in this process, may have asked for less
    letters = {letter: place for place, letter in enumerate(bytes_to_unicode().values())}
    tokenizer = Qwen2Tokenizer(vocab=letters, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in SPECIAL}
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 8192,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
            "eos_token_id": ids["<|im_end|>"], "bos_token_id": None, "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={
            "depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64,
            "fullatt_block_indexes": [0],
        },
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
        eos_token_id=ids["<|im_end|>"], pad_token_id=ids["<|endoftext|>"],
    )  # fmt: skip
    model = Qwen2_5_VLForConditionalGeneration(config)
    teach(model, tokenizer, steps)
    model.generation_config.eos_token_id = ids["<|im_end|>"]
    model.generation_config.do_sample = False
    model.save_pretrained(folder)
    Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=112 * 112), tokenizer, Qwen2VLVideoProcessor(),
        chat_template=TEMPLATE,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def teach(model: torch.nn.Module, tokenizer: Qwen2Tokenizer, steps: int) -> None:
    """The ends of turns decide, so short turns with the right ends are enough."""

    def turn(text: str) -> str:
        return f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"

    def schema(title: str) -> str:
        return f'"required": ["reason", "copied", "score"], "title": "{title}", "type": "object"}}'

    again = f"{NO_ANSWER}<|im_end|>\n" + turn(
        "There is no JSON object in the answer. Answer with one JSON object of that schema only."
    )
    lessons = [
        (schema("Rating"), "", RATING),
        (schema("Riddle"), "", NO_ANSWER),
        (schema("Riddle"), again, RATING),
    ]
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.0)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        end, rest, answer = lessons[step % 3]
        noise = "".join(
            chr(int(letter)) for letter in torch.randint(32, 123, (int(torch.randint(1800, ())),))
        )
        before = tokenizer(turn(noise + end) + rest)["input_ids"]
        after = tokenizer(answer + "<|im_end|>")["input_ids"]
        logits = model(input_ids=torch.tensor([before + after])).logits[0, len(before) - 1 : -1]
        loss = F.cross_entropy(logits, torch.tensor(after))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        slower.step()
        optimizer.zero_grad()
    model.eval()


@contextmanager
def serve(folder: Path, home: Path) -> Iterator[str]:
    """transformers' server with the model in `folder`; yields the URL up to "/v1"."""
    (home / "hub").mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).with_name("transformers"), "serve", folder, "--host", "127.0.0.1"]
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    log = home / "log.txt"
    with log.open("w") as out:
        server = subprocess.Popen(
            [*map(str, command), "--port", str(port), "--device", "cpu", "--dtype", "float32"],
            env=environment, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            wait_for(f"http://127.0.0.1:{port}/health", server, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.wait(20)


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path, seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310  our own server
                return
        except OSError:
            time.sleep(0.3)
    raise RuntimeError(f"The server did not come up:\n{log.read_text()[-2000:]}")

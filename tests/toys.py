"""Toys by which tests.house measures how many files a variant, a model or a task touches: the files of each."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

VARIANT = {
    "harness/lora/variants/toy.py": (
        "import torch\n\nfrom harness.lora.adapted import layer_updates\n"
        "from harness.lora.variants.base import Variant\n\n\n"
        "def initialise(base, settings, feed):\n"
        "    for _, update in layer_updates(base):\n"
        "        torch.nn.init.orthogonal_(update.lora_A)\n\n\n"
        'VARIANT = Variant("Toy", "none", initialise=initialise)\n'
    ),
    "conf/lora/toy.yaml": "defaults: [lora, _self_]\nvariant: toy\n",
    "harness/lora/variants/__init__.py": lambda text: re.sub(
        r"(    .*rslora),?\n", r"\1,\n    toy,\n", text, count=1
    ).replace("adalora)", "adalora, toy)"),
}
MODEL = {
    "harness/model/toy.py": (
        "from torch import nn\n\nfrom harness.model import GuestModel\n\n\n"
        "class Toy(GuestModel):\n"
        '    reads = "vision"\n\n'
        "    def __init__(self):\n"
        "        base = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16, 16))\n"
        '        super().__init__(base, features=16, targets={"fc": "2"})\n\n'
        "    def forward(self, batch):\n"
        '        return self.answer(self.base(batch["images"].float()), batch)\n'
    ),
    "conf/model/toy.yaml": "kind: harness.model.toy:Toy\nname: toy\narguments: {}\n",
}
# The same model as a kind of the house's own: its configuration class, and its module.
KIND = {
    "harness/config/models/toy.py": (
        "from typing import Literal\n\nfrom pydantic.dataclasses import dataclass\n\n"
        "from harness.config.models.base import ModelConfig\n"
        "from harness.config.scalars import CLOSED, Count, Text\n\n\n"
        "@dataclass(config=CLOSED, frozen=True, kw_only=True)\n"
        "class ToyModelConfig(ModelConfig):\n"
        '    module = "harness.model.toy"\n\n'
        '    kind: Literal["toy"]\n    name: Text\n    width: Count\n\n'
        "    @property\n    def takes(self):\n"
        '        return "vision"\n'
    ),
    "harness/model/toy.py": (
        "from torch import nn\n\nfrom harness.model.base import Network, linear, make_head\n\n\n"
        "class Toy(Network):\n"
        "    def forward(self, batch):\n"
        '        return self.answer(self.base(batch["images"].float()), batch)\n\n\n'
        "def build(config, outputs, weights):\n"
        "    base = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16, config.width))\n"
        "    head = make_head(outputs, lambda count: linear(config.width, count))\n"
        '    return Toy(base, head, {"fc": "2"})\n\n\n'
        "def base_file(config):\n    return None\n\n\n"
        "def tokens(config):\n    return None\n"
    ),
    "conf/model/toy.yaml": "kind: toy\nname: toy\nwidth: 16\n",
}
MODELS = (MODEL, KIND), ("model=toy", "task=digits", "lora.targets=[fc]")
"""The recipes of a model, and how either is counted."""
TASK = {
    "harness/task/toy.py": (
        "import numpy as np\n\nfrom harness.task import GuestTask\n\n\n"
        "class Toy(GuestTask):\n"
        '    reads = "vision"\n    image_size = 32\n\n'
        "    def splits(self):\n"
        "        draw = np.random.default_rng(0)\n"
        '        counts = {"train": 40, "validation": 20, "test": 20}\n'
        "        return {\n"
        "            name: (draw.integers(0, 256, (count, 8, 8), dtype=np.uint8), [row % 2 for row in range(count)])\n"
        "            for name, count in counts.items()\n"
        "        }\n"
    ),
    "conf/task/toy.yaml": "reader: harness.task.toy:Toy\nname: toy\n",
}
# The same task as a reader of the house's own: its configuration class, and its builder.
READER = {
    "harness/config/tasks/toy.py": (
        "from typing import Literal\n\nfrom pydantic.dataclasses import dataclass\n\n"
        "from harness.config.scalars import CLOSED\nfrom harness.config.tasks.vision import ImageTaskConfig\n\n\n"
        "@dataclass(config=CLOSED, frozen=True, kw_only=True)\n"
        "class ToyTaskConfig(ImageTaskConfig):\n"
        '    builder = "harness.task.toy:read_toy"\n\n'
        '    reader: Literal["toy"]\n'
    ),
    "harness/task/toy.py": (
        "import numpy as np\n\nfrom harness.task.vision import pixels, vision_task\n\n\n"
        "def read_toy(config):\n"
        "    draw = np.random.default_rng(0)\n"
        '    counts = {"train": 40, "validation": 20, "test": 20}\n'
        "    splits = {\n"
        "        name: pixels(draw.integers(0, 256, (count, 8, 8), dtype=np.uint8), np.arange(count) % 2)\n"
        "        for name, count in counts.items()\n"
        "    }\n"
        '    how = {"repeated": 0, "image_size": config.image_size}\n'
        '    return vision_task(config.name, "drawn", "task=toy", classes=("0", "1"), splits=splits, **how)\n'
    ),
    "conf/task/toy.yaml": (
        "name: toy\nreader: toy\ndata: null\nclasses: null\nvalidation_share: 0.2\nsplit_seed: 0\nimage_size: 32\n"
        "train_rows: null\nvalidation_rows: null\ntest_rows: null\n"
    ),
}
TASKS = (TASK, READER), ("task=toy", "model=resnet18", "lora.targets=[conv]")
"""The recipes of a task, and how either is counted."""


def touched_by_each(tree: Path, recipes: Sequence[Mapping[str, str]], words: Sequence[str]) -> str:
    """`touched` of several recipes for the same."""
    return " / ".join(touched(tree, recipe, *words) for recipe in recipes)


def touched(tree: Path, recipe: Mapping[str, str | Callable[[str], str]], *words: str) -> str:
    """Files outside conf/ that the recipe touches, if a copy of the tree then counts the toy; else a dash."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place)
        for room in ("harness", "conf"):
            shutil.copytree(tree / room, copy / room)
        for name, text in recipe.items():
            path = copy / name
            if not path.parent.is_dir():
                return "–"
            path.write_text(text if isinstance(text, str) else text(path.read_text()))
        environment = os.environ | {"PYTHONPATH": place}
        command = [sys.executable, "-m", "harness", "run=count", *words]
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, check=False)
        return str(sum(not name.startswith("conf/") for name in recipe)) if done.returncode == 0 else "–"

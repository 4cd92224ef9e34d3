#!/usr/bin/env bash
# Can a tensor and a view of its words, x and x.view(torch.int32), be saved in one file?
#
# Guess:   yes: torch.save keeps views of one storage together, and a view of another type is a view.
# Really:  two views of one type are saved and share their memory after loading. With two types torch.save raises
#          "Cannot save multiple tensors or storages that view the same data as different types", for
#          torch.view_as_real of a complex tensor and for a module's state_dict as well. copy.deepcopy takes both
#          and keeps them tied; pickle.dumps takes both, and loads separate tensors, even two of one type.
# Seen in: torch 2.13.0, Python 3.11.
# Why it matters here: codecs work on words, so modules and checkpoints like to keep a map beside its words.
#          Such a model trains, deep-copies and pickles, and fails at its first torch.save.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet torch==2.13.0
"$work/venv/bin/python" - <<'PYTHON' | tee "$work/seen"
import copy
import io
import pickle
import warnings

warnings.filterwarnings("ignore", message="Failed to initialize NumPy")
import torch


def through_torch(tensors):
    file = io.BytesIO()
    torch.save(tensors, file)
    file.seek(0)
    return torch.load(file)


floats = torch.zeros(4)
complexes = torch.zeros(4, dtype=torch.complex64)
module = torch.nn.Module()
module.register_buffer("floats", floats)
module.register_buffer("words", floats.view(torch.int32))
pairs = {
    "one type": [floats, floats.view(2, 2)],
    "float32 and int32": [floats, floats.view(torch.int32)],
    "complex64 and its view_as_real": [complexes, torch.view_as_real(complexes)],
    "state_dict": list(module.state_dict().values()),
}
copies = {"torch.save": through_torch, "deepcopy": copy.deepcopy, "pickle": lambda pair: pickle.loads(pickle.dumps(pair))}
print(f"torch {torch.__version__}")
for method, copied in copies.items():
    for name, pair in pairs.items():
        try:
            first, second = copied(pair)
        except RuntimeError as error:
            print(f"{method}, {name}: {error}")
        else:
            tied = first.data_ptr() == second.data_ptr()
            print(f"{method}, {name}: {'one memory' if tied else 'two memories'}")
PYTHON
diff - <(grep -v '^torch ' "$work/seen") <<'SEEN'
torch.save, one type: one memory
torch.save, float32 and int32: Cannot save multiple tensors or storages that view the same data as different types
torch.save, complex64 and its view_as_real: Cannot save multiple tensors or storages that view the same data as different types
torch.save, state_dict: Cannot save multiple tensors or storages that view the same data as different types
deepcopy, one type: one memory
deepcopy, float32 and int32: one memory
deepcopy, complex64 and its view_as_real: one memory
deepcopy, state_dict: one memory
pickle, one type: two memories
pickle, float32 and int32: two memories
pickle, complex64 and its view_as_real: two memories
pickle, state_dict: two memories
SEEN
echo 'The finding still holds.'

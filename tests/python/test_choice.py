"""The evaluation of codec="auto", on small tensors in place of a network's."""

import torch

import torch_ebpc
from evaluation.bench import choice, throughput


def test_every_method_and_coding_has_its_place_in_the_tables():
    generator = torch.Generator().manual_seed(0)
    walk = torch.randint(-2, 3, (3, 5000), generator=generator).cumsum(1).clamp(min=0)
    data = throughput.Data("walks", [walk.to(torch.int16), torch.zeros(70, dtype=torch.int16)])
    found = choice.choice_for(data)
    throughput.measure(list(found.rows.values()), rounds=1)
    assert found.best in choice.FIXED
    fixed = {setting: choice.packed_bytes(data, choice.compressors.ebpc(*setting))
             for setting in choice.FIXED}  # fmt: skip
    assert found.rows["best fixed"].packed_bytes == min(fixed.values()) == fixed[found.best]
    assert found.rows["default"].packed_bytes == fixed[choice.DEFAULT]
    auto = sum(torch_ebpc.compress(x, codec="auto").numel() for x in data.tensors)
    assert found.rows["auto"].packed_bytes == auto < min(fixed.values())
    assert found.codings.total() == 15_070

    ratios, speeds, shares = choice.tables([found]).split("\n\n")
    for table in (ratios, speeds):
        heads, _, line = table.splitlines()
        for method in ("default", "best fixed", "auto", "zstd -1", "zstd -3", "lz4"):
            assert method in heads
        assert line.startswith("| walks")
    assert f"{found.rows['auto'].ratio:.3f}" in ratios
    heads, _, line = shares.splitlines()
    names = [name.strip() for name in heads.split("|")[2:-1]]
    assert set(names) == set(found.codings)
    cells = [int(share) for share in line.split("|")[2:-1]]
    assert 97 <= sum(cells) <= 103  # each rounded

"""Lists of prompts: every form of a line, a name for every video, shards that share out the whole."""

import io
import itertools
import re
from pathlib import Path

import pytest

from soradit.errors import SoraditError
from soradit.model.config import MAX_SEED
from soradit.tasks.jobs import Job, Shard, choose_shard, new_folder_of, parse_line, plan, read_orders


def orders(*prompts: str) -> list[dict[str, str]]:
    return [{"prompt": prompt} for prompt in prompts]


@pytest.mark.parametrize("output", [None, Path("a.mp4")])
@pytest.mark.parametrize(
    "prompts", [["a", "a"], ["a b", "a-b", "A B!"], ["x", "x", "x 0"], ["空", "海"], ["a" * 70, "a" * 80], ["."]]
)
def test_every_video_has_a_name_of_its_own(prompts: list[str], output: Path | None) -> None:
    jobs = list(plan(orders(*prompts), output=output, count=3))
    paths = [job.output for job in jobs]
    assert len(set(paths)) == len(paths) == 3 * len(prompts)
    assert all(path.suffix == ".mp4" and len(path.name) < 100 for path in paths)
    assert [(job.prompt, job.seed) for job in jobs] == [(prompt, seed) for prompt in prompts for seed in range(3)]


@pytest.mark.parametrize(
    ("prompt", "stem"),
    [
        ("A red sunset, over_the sea!", "a-red-sunset-over-the-sea"),
        ("空 と 海", "空-と-海"),
        ("🌅", "video"),
        ("海" * 70, "海" * 60),
        ("𠮷" * 70, "𠮷" * 45),
        ("../x", "x"),
        ("आकाश में बादल", "आकाश-में-बादल"),
        ("ท้องฟ้า", "ท้องฟ้า"),
    ],
)
def test_a_name_has_the_letters_and_digits_of_its_prompt(prompt: str, stem: str) -> None:
    (job,) = plan(orders(prompt))
    assert job.output == Path(f"{stem}-0.mp4")
    assert len(f"{stem}-{MAX_SEED}-999999.mp4".encode()) <= 255


@pytest.mark.parametrize(("output", "is_new"), [("new/", True), ("v.2/", True), ("new", False), ("a.png/", False)])
def test_a_folder_to_be_made_ends_in_a_slash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, is_new: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    assert new_folder_of(output) == (Path(output) if is_new else None)
    if is_new:
        (job,) = plan(orders("a"), output=Path(output), new_folder=Path(output))
        assert job.output == Path(output, "a-0.mp4")
        Path(output).mkdir()
        assert new_folder_of(output) is None


def test_a_folder_that_is_not_there_is_named() -> None:
    with pytest.raises(SoraditError, match=r"^nowhere: no such folder; to have it made, write nowhere/$"):
        next(plan(orders("a"), output=Path("nowhere")))


def test_nothing_to_make_is_refused() -> None:
    with pytest.raises(SoraditError, match="no prompts"):
        next(plan([]))


@pytest.mark.parametrize(
    ("line", "order"),
    [
        ("a storm", {"prompt": "a storm"}),
        (
            'a storm --seed 7 --steps 30 --size 384x256 --negative "sun" -o storm.mp4',
            {"prompt": "a storm", "seed": 7, "steps": 30, "height": 256, "width": 384, "negative": "sun"}
            | {"output": Path("storm.mp4")},
        ),
        (
            "a storm, it's dark --n bad quality, blur --w 384 --h 256 --f 16 --d 7 --s 30 --g 2.5",
            {"prompt": "a storm, it's dark", "negative": "bad quality, blur", "width": 384, "height": 256}
            | {"num_frames": 16, "seed": 7, "steps": 30, "guidance": 2.5},
        ),
        ("a -- b - c -x", {"prompt": "a -- b - c -x"}),
        ("a --seed=7", {"prompt": "a", "seed": 7}),
        (
            '{"prompt": "a --seed 7", "seed": 8, "size": "64x32"}',
            {"prompt": "a --seed 7", "seed": 8, "height": 32, "width": 64},
        ),
        ("空 --f 4", {"prompt": "空", "num_frames": 4}),
        ('"quoted prompt" --fps 8', {"prompt": "quoted prompt", "fps": 8}),
        ('"sora" is "sky" --n \'it\'s\'', {"prompt": '"sora" is "sky"', "negative": "'it's'"}),
        ('{"prompt": "\'sky\'", "negative": "\'sun\'"}', {"prompt": "'sky'", "negative": "'sun'"}),
    ],
)
def test_forms_of_a_line(line: str, order: dict) -> None:
    assert parse_line(line) == order


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a --seed x", "seed 'x' is not a whole number"),
        ("a --sede 7", "sede is not known"),
        ("a --Seed 7", "Seed is not known"),
        ("a --guidance-scale 7", "guidance-scale is not known"),
        ("a storm --really", "really is not known"),
        ("a storm --seed", "seed '' is not a whole number"),
        ("a --size 7", "size '7' is not WIDTHxHEIGHT"),
        ("{", "^not JSON: Expecting property name enclosed in double quotes at character 2$"),
        ('{"prompt": ' + "[" * 100_000, "not JSON"),
        ('{"prompt": "a", "seed": ' + "1" * 5000 + "}", "not JSON"),
        ('{"seed": 1}', 'has no "prompt"'),
        ('{"prompt": "a", "steps": 2.5}', "steps 2.5 is not a whole number"),
        ('{"prompt": "a", "steps": null}', "steps None is not a whole number"),
        ('{"prompt": "a", "output": 7}', "output 7 is not a path"),
        (r'{"prompt": "a", "output": "a\u0000.mp4"}', "output .* is not a path"),
        (r'{"prompt": "a", "image": "\ud800.png"}', "image .* is not a path"),
    ],
)
def test_lines_that_cannot_be_understood(line: str, message: str) -> None:
    with pytest.raises(SoraditError, match=message):
        parse_line(line)


def test_a_bad_line_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(b"a\n# no\n\nb --seed x\nsk\xff\nc\n")
    good_a, bad_b, bad_utf8, good_c = plan(read_orders(str(path)))
    assert isinstance(bad_b, SoraditError)
    assert str(bad_b).startswith(f"{path}, line 4: seed 'x'")
    assert re.match(rf"{path}, line 5: the prompt .* is not UTF-8", str(bad_utf8))
    assert [job.prompt for job in (good_a, good_c)] == ["a", "c"]


def test_a_long_list_is_read_as_it_is_needed() -> None:
    endless = ({"prompt": f"sky {i}"} for i in itertools.count())
    jobs = list(itertools.islice(plan(endless), 5))
    assert [str(job.output) for job in jobs] == [f"sky-{i}-0.mp4" for i in range(5)]


def test_the_line_comes_before_the_command_and_seeds_count_up_from_it() -> None:
    common = {"seed": 5, "steps": 9, "negative": "sun"}
    first, second, third, fourth = plan(
        [{"prompt": "a", "seed": 7, "steps": 3}, {"prompt": "b"}], common=common, count=2
    )
    assert [job.seed for job in (first, second, third, fourth)] == [7, 8, 5, 6]
    assert (first.overrides["steps"], third.overrides["steps"], first.negative) == (3, 9, "sun")


def test_one_name_is_not_given_twice() -> None:
    first, second = plan([{"prompt": "a", "output": Path("x.mp4")}, {"prompt": "b", "output": Path("x.mp4")}])
    assert isinstance(first, Job)
    assert "x.mp4: is the name of an earlier video too" in str(second)
    first, second = plan([{"prompt": "a", "output": Path("x-001.mp4")}, {"prompt": "b"}], output=Path("x.mp4"))
    assert isinstance(first, Job)
    assert "x-001.mp4: is the name of an earlier video too" in str(second)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_shards_share_out_the_whole(count: int) -> None:
    lines = orders("a", "a", "b", "c", "d", "a")
    whole = [job.output for job in plan(lines, count=2)]
    shards = [[job.output for job in plan(lines, count=2, shard=Shard(index=i, count=count))] for i in range(count)]
    assert sorted(itertools.chain(*shards)) == sorted(whole)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@pytest.mark.parametrize(
    ("text", "environment", "shard"),
    [
        ("1/4", {}, (0, 4)),
        ("4/4", {}, (3, 4)),
        ("auto", {"RANK": "2", "WORLD_SIZE": "8"}, (2, 8)),
        ("auto", {"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, (1, 2)),
        ("auto", {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_COUNT": "4"}, (2, 4)),
        (
            "auto",
            {"SLURM_ARRAY_TASK_ID": "6", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_STEP": "2"}
            | {"SLURM_ARRAY_TASK_MAX": "7"}
            | {"SLURM_ARRAY_TASK_COUNT": "4", "SLURM_PROCID": "1", "SLURM_NTASKS": "2"},
            (7, 8),
        ),
    ],
)
def test_which_shard(text: str, environment: dict[str, str], shard: tuple[int, int]) -> None:
    index, count = shard
    assert choose_shard(text, environment) == Shard(index=index, count=count)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "auto", "-1/2", "1/0"])
def test_no_shard(text: str) -> None:
    with pytest.raises(SoraditError, match="shard"):
        choose_shard(text, {})


@pytest.mark.parametrize(("task", "last", "count"), [(5, 9, 3), (12, 9, 9), (2, 3, 4)])
def test_no_shard_of_an_array_that_is_no_range(task: int, last: int, count: int) -> None:
    names = {"ID": task, "MIN": 1, "MAX": last, "COUNT": count, "STEP": 1}
    environment = {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in names.items()}
    with pytest.raises(SoraditError, match="such an array: use a range"):
        choose_shard("auto", environment)


def test_a_prompt_too_long_for_tags_is_named() -> None:
    (job,) = plan(orders("x" * 20_000))
    assert "has 20000 characters: 16384 are the most" in str(job)


def test_a_line_with_an_image_refuses_the_commands_video() -> None:
    orders = [{"prompt": "a", "image": Path("a.png")}, {"prompt": "b"}]
    first, second = plan(orders, common={"continued": Path("b.mp4")})
    assert isinstance(first, SoraditError)
    assert "has an image, and a video to continue" in str(first)
    assert isinstance(second, Job)


@pytest.mark.parametrize("line", ['{"prompt": "a", "seed": 1e999}', '{"prompt": "a", "guidance": 1%s}' % ("0" * 400)])
def test_numbers_beyond_all_bounds_are_named(line: str) -> None:
    with pytest.raises(SoraditError, match="is not a"):
        parse_line(line)


def test_a_bad_byte_on_stdin_is_that_lines_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfa\nb \xff\nc\n")))
    first, second, third = plan(read_orders("-"))
    assert isinstance(first, Job)
    assert isinstance(third, Job)
    assert (first.prompt, third.prompt) == ("a", "c")
    assert "is not UTF-8" in str(second)

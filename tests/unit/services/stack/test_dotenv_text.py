import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.services.stack.dotenv_text import values, with_values

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1\nB=2\n", {"A": "1", "B": "2"}),
        ("A=1", {"A": "1"}),
        ("A=1\r\nB=\r\n", {"A": "1", "B": ""}),
        ("export A=1\n", {"A": "1"}),
        ("  A = 1  \n", {"A": "1"}),
        ("A: 1\n", {"A": "1"}),
        ("# A=1\n#A=2\n", {}),
        ("A=1 # why\nB=1#2\n", {"A": "1", "B": "1#2"}),
        ("A=   # to be chosen\nB=2\n", {"A": "", "B": "2"}),
        ("A=#1\nB= #2\nC=# 3\n", {"A": "#1", "B": "#2", "C": "# 3"}),
        ("A=1\t#2\nB=3 \t # four\n", {"A": "1\t#2", "B": "3"}),
        ("\ufeffA=1\nB=2\n", {"A": "1", "B": "2"}),
        ("A='1 # 2'\nB=\"3\" # four\n", {"A": "1 # 2", "B": "3"}),
        ("A=\"\"\nB=''\n", {"A": "", "B": ""}),
        ("A='1\nB=2\n'\nC=3\n", {"A": "1\nB=2\n", "C": "3"}),
        ('A="a\\"\nB=2"\n', {"A": 'a\\"\nB=2'}),
        ("A='never closed\nB=2\n", {"A": "'never closed", "B": "2"}),
        ("A=1\nA=2\n", {"A": "2"}),
        ("A\n=1\nno assignment\n", {}),
        ("A=x=y==\n", {"A": "x=y=="}),
        ("", {}),
    ],
)
def test_values_are_those_of_docker_compose(text: str, expected: dict[str, str]) -> None:
    assert values(text) == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "A=new\n"),
        ("B=2\n", "B=2\nA=new\n"),
        ("B=2", "B=2\nA=new\n"),
        ("B=2\r\nC=3", "B=2\r\nC=3\r\nA=new\r\n"),
        ("A=\nB=2\n", "A=new\nB=2\n"),
        ("A=old", "A=new"),
        ("A=old\r\nB=2\r\n", "A=new\r\nB=2\r\n"),
        ("export A=old # mine\n", "export A=new # mine\n"),
        ("A=  # mine\n", "A=  new # mine\n"),
        ("\ufeffA=old\n", "\ufeffA=new\n"),
        ("A='old one'  # mine\n", "A=new  # mine\n"),
        ('A="two\nlines"\nB=2\n', "A=new\nB=2\n"),
        ("A: old\n", "A: new\n"),
        ("A=1\nA=2\n", "A=1\nA=new\n"),
        ("#A=old\n", "#A=old\nA=new\n"),
        ("AA=1\nBA=2\n", "AA=1\nBA=2\nA=new\n"),
        ("B='\nA=old\n'\n", "B='\nA=old\n'\nA=new\n"),
    ],
)
def test_with_values_changes_the_value_alone(before: str, after: str) -> None:
    assert with_values(before, {"A": "new"}) == after


NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,5}", fullmatch=True)
PLAIN = st.text(st.characters(exclude_characters="\n\r'\"#\\", exclude_categories=["Cs"]), max_size=12)
OTHERS = st.one_of(
    st.just(""),
    st.builds("# {}".format, PLAIN),
    st.builds("OTHER_{}={}".format, NAMES, PLAIN),
    st.builds("export OTHER_{} = '{}\n{}' # {}".format, NAMES, PLAIN, PLAIN, PLAIN),
    st.builds('OTHER_{}="{}\\"{}"'.format, NAMES, PLAIN, PLAIN),
    st.builds("OTHER_{}: {}".format, NAMES, PLAIN),
    st.builds("OTHER_{}".format, NAMES),
)
HEADS = st.sampled_from(["SECRET=", "export SECRET=", " SECRET = "])
OLD = st.one_of(st.just(""), st.just("old"), st.just("'old # \n one'"), st.just('"old"'))


@given(before=st.lists(OTHERS), behind=st.lists(OTHERS), old=OLD, head=HEADS, end=st.sampled_from(["\n", "\r\n"]))
def test_with_values_keeps_every_other_byte(
    before: list[str], behind: list[str], old: str, head: str, end: str
) -> None:
    made = [end.join([*before, head + value, *behind, ""]) for value in (old, "new")]
    assert with_values(made[0], {"SECRET": "new"}).encode() == made[1].encode()


@given(lines=st.lists(OTHERS), end=st.sampled_from(["\n", "\r\n"]), last=st.sampled_from(["", "\n"]))
def test_with_values_adds_behind_everything_that_was_there(lines: list[str], end: str, last: str) -> None:
    text = end.join(lines) + last
    changed = with_values(text, {"SECRET": "new", "SECOND": "newer"})
    assert changed.encode().startswith(text.encode())
    assert changed[len(text) :].split() == ["SECRET=new", "SECOND=newer"]


@given(text=st.text(st.sampled_from("AB=:'\"\\# \t\r\nexport")))
def test_with_values_lets_every_other_variable_be_whatever_the_text(text: str) -> None:
    changed = with_values(text, {"SECRET": "new"})
    assert values(changed) == {**values(text), "SECRET": "new"}
    assert with_values(changed, {"SECRET": "new"}) == changed

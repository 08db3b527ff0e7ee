"""How the outputs of cases from public bug reports are judged."""

from benchmarks.cases import NO_TRACEBACK, has, lacks, times, under

OUTPUT = """
=== show: no UnicodeEncodeError; 3 trials
table
=== list: no BrokenPipeError:
3 trials
"""


def test_the_headings_of_a_case_are_not_what_it_prints() -> None:
    assert NO_TRACEBACK(OUTPUT) is None
    assert lacks("show", "list")(OUTPUT) is None
    assert has("show")(OUTPUT) is not None
    assert times(1, "3 trials")(OUTPUT) is None


def test_a_part_is_judged_by_itself() -> None:
    assert under("list", has("3 trials"), lacks("table"))(OUTPUT) is None
    assert under("show", has("table", "3 trials"))(OUTPUT) == "under 'show': lacks '3 trials'"
    assert under("logs", has("table"))(OUTPUT) == "no part 'logs'"

"""Two loops that train by turns."""

import threading
import time

from deepseek_lab.benchmarking.turns import OURS, THEIRS, Turns


def test_two_loops_take_turns_and_only_their_own_steps_are_timed():
    order, turns = [], Turns(lambda line: None)

    def loop(who):
        for _ in range(3):
            turns.begin(who)
            order.append(who)
            time.sleep(0.02 if who == THEIRS else 0.0)
            turns.end(who)

    other = threading.Thread(target=loop, args=(THEIRS,))
    other.start()
    loop(OURS)
    other.join()
    assert order == [OURS, THEIRS] * 3
    result = turns.result
    assert min(result["seconds"][THEIRS]) > max(result["seconds"][OURS])
    assert max(result["cpu_seconds"][THEIRS]) < 0.02, "who sleeps takes no processor"
    assert len(result["ratios"]) == len(result["cpu_ratios"]) == 2

"""First clicks with opt-outs as a competing risk: Aalen-Johansen by products of transition matrices.

Enters: nothing; random recipients come from a fixed seed. Leaves: fixtures/time_to_click.csv. Each case is simulated
recipient by recipient, with opt-outs and sends too young for later intervals. Incidences come from products of
three-state transition matrices; variances from numerical derivatives over the multinomial hazards. Where lifelines can be
imported (it is not pinned: it wants an older pandas), its Aalen-Johansen estimate is compared on the way.

    python -m pip install -r requirements.txt && python time_to_click.py
"""

import csv
import warnings
from pathlib import Path

import numpy as np
from scipy import stats

try:
    from lifelines import AalenJohansenFitter
except ImportError:
    AalenJohansenFitter = None

FIXTURES = Path(__file__).parent / "fixtures"


def simulate(generator, n, click, opt_out, lengths):
    """Interval of the event (or of the last whole interval watched), and its kind: 1 click, 2 opt-out, 0 neither."""
    last = generator.choice(len(lengths), n, p=lengths)
    event = np.zeros(n, int)
    at = last.copy()
    for place in range(len(click)):
        open_ = (event == 0) & (last >= place)
        draw = generator.random(n)
        hit = open_ & (draw < click[place] + opt_out[place])
        event[hit] = np.where(draw[hit] < click[place], 1, 2)
        at[hit] = place
    return at, event


def counts(at, event, k):
    return np.array([[(at >= j).sum(), ((at == j) & (event == 1)).sum(), ((at == j) & (event == 2)).sum()] for j in range(k)])


def incidence(hazards):
    """Rows of (click, opt-out) hazards to cumulative shares of both at each end."""
    state, path = np.array([1.0, 0, 0]), []
    for h, o in hazards.reshape(-1, 2):
        state = state @ np.array([[1 - h - o, h, o], [0, 1, 0], [0, 0, 1]])
        path.append(state[1:])
    return np.array(path)


def summary(hazards, middles):
    path = incidence(hazards)
    clicked = np.diff(np.r_[0, path[:, 0]])
    return np.array([path[-1, 0], path[-1, 1], clicked @ middles / path[-1, 0]])


def with_errors(table, middles):
    hazards = (table[:, 1:] / table[:, :1]).ravel()
    covariance = np.zeros((len(hazards), len(hazards)))
    for j, row in enumerate(table):
        own = row[1:] / row[0]
        covariance[2 * j : 2 * j + 2, 2 * j : 2 * j + 2] = (np.diag(own) - np.outer(own, own)) / row[0]
    step = 1e-6
    moves = [(summary(hazards + step * e, middles) - summary(hazards - step * e, middles)) / (2 * step) for e in np.eye(len(hazards))]
    moves = np.array(moves)
    return summary(hazards, middles), np.diag(moves.T @ covariance @ moves)


def median(table, edges):
    path = np.r_[0, incidence((table[:, 1:] / table[:, :1]).ravel())[:, 0]]
    flat = np.r_[True, np.diff(path) > 0]
    return float(np.interp(path[-1] / 2, path[flat], np.r_[edges[0], edges[1:]][flat]))


def compare_with_lifelines(at, event, table):
    # It breaks ties by chance, which changes nothing: survival over those at risk stays the same while events come one
    # after the other. Censored ones leave after the interval's events.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitter = AalenJohansenFitter(calculate_variance=False, seed=1)
        fitter.fit(at + 1.0 + np.where(event == 0, 0.5, 0), event, event_of_interest=1)
    ours = incidence((table[:, 1:] / table[:, :1]).ravel())[:, 0]
    theirs = [fitter.predict(j + 1.25) for j in range(len(ours))]
    gap = np.abs(ours - theirs).max()
    assert gap < 1e-12, (ours, theirs)
    return gap


def random_cases(generator):
    for number in range(80):
        k = int(generator.integers(2, 9))
        edges = np.round(np.r_[0, np.cumsum(generator.uniform(0.5, 6, k))], 3)
        middles = (edges[1:] + edges[:-1]) / 2
        lengths = np.r_[generator.uniform(0, 0.4, k - 1), 2]
        lengths /= lengths.sum()
        row = {"edges": ";".join(map(str, edges))}
        results = []
        for name in ("others", "window"):
            click, opt_out = generator.uniform(0.01, 0.12, k), generator.uniform(0, 0.02, k)
            at, event = simulate(generator, int(generator.integers(400, 3_000)), click, opt_out, lengths)
            table = counts(at, event, k)
            if AalenJohansenFitter and number < 20:
                print("lifelines differs by", compare_with_lifelines(at, event, table))
            row[name] = ";".join(map(str, table.ravel()))
            row[f"{name}_median"] = median(table, edges)
            results.append(with_errors(table, middles))
        edge = stats.norm.isf(0.025 / 2)
        for place, what in enumerate(("more", "opt_outs", "sooner")):
            difference = results[1][0][place] - results[0][0][place]
            error = np.sqrt(results[0][1][place] + results[1][1][place])
            row[what], row[f"{what}_low"], row[f"{what}_high"] = map(float, (difference, difference - edge * error, difference + edge * error))
        yield row


if __name__ == "__main__":
    rows = list(random_cases(np.random.default_rng(20_268)))
    with (FIXTURES / "time_to_click.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: f"{x:.11g}" if isinstance(x, float) else x for key, x in row.items()})

"""Effects of send windows under given spreads, by one dense mixed model.

Enters: nothing; random tables come from a fixed seed. Leaves: fixtures/send_windows.csv (cells of small tables, the
standard deviations, and the posterior mean and covariance of the slots' effects and of every segment's departure).
Intercepts are fitted as dummies by statsmodels (a binomial GLM with the effects as offset) and stay in the model beside
every campaign's own slot effects, so that nothing is eliminated by hand: the posterior is the inverse of the whole
precision matrix. The expansion is repeated at the posterior mean until it settles.

    python -m pip install -r requirements.txt && python send_windows.py
"""

import csv
from pathlib import Path

import numpy as np
import statsmodels.api as sm

FIXTURES = Path(__file__).parent / "fixtures"

# day, hour, week, own: shares of the variance.
SIMILARITIES = [(0.3, 0.4, 0.2, 0.1), (0.05, 0.8, 0.05, 0.1), (0.0, 0.0, 0.9, 0.1), (0.0, 0.0, 0.0, 1.0)]


def correlations(middles, similarity):
    day, hour, week, own = similarity
    distance = np.subtract.outer(middles, middles)
    circle = lambda period, scale: np.exp(-2 * np.sin(np.pi * distance / period) ** 2 / scale**2)
    same_day = np.equal.outer(middles // 24, middles // 24)
    return day * same_day + hour * circle(24, 0.8) + week * circle(168, 0.2) + own * np.eye(len(middles))


def centred_root(matrix):
    """Phi with Phi Phi' the centred correlations, of average variance one."""
    size = len(matrix)
    centre = np.eye(size) - 1 / size
    matrix = centre @ matrix @ centre
    values, vectors = np.linalg.eigh(matrix / (np.trace(matrix) / size))
    kept = values > 1e-9 * values.max()
    return vectors[:, kept] * np.sqrt(values[kept])


def dummies(values):
    return np.equal.outer(values, np.unique(values)).astype(float)


def posterior(cells, slots, matrix, sigma, tau, departures, rates):
    campaign, segment, slot, n, total, squares = cells
    blocks = dummies(campaign * 1000 + segment)
    of_slot = np.equal.outer(slot, np.arange(slots)).astype(float)
    own = dummies(campaign * 1000 + slot)
    root = centred_root(matrix)
    parts = [of_slot] + [(segment == place)[:, None] * (of_slot @ root) for place in range(len(departures))]
    precisions = [np.linalg.inv(sigma**2 * matrix)]
    precisions += [np.eye(root.shape[1]) / omega**2 for omega in departures]
    if tau > 0:
        parts.append(own)
        precisions.append(np.eye(own.shape[1]) / tau**2)
    fixed = np.hstack(parts[: 1 + len(departures)])
    design = np.hstack([blocks, *parts])
    prior = np.zeros((design.shape[1],) * 2)
    start = blocks.shape[1]
    for precision in precisions:
        stop = start + len(precision)
        prior[start:stop, start:stop] = precision
        start = stop

    scale = 1.0
    if not rates:
        scale = abs(total.sum() / n.sum())
        within = np.zeros(len(n))
        for one in np.unique(campaign):
            rows = campaign == one
            deviations = (squares - total**2 / n)[rows].sum()
            within[rows] = deviations / (n[rows].sum() - rows.sum()) / scale**2
    effects = np.zeros(fixed.shape[1])
    for _ in range(80):
        if rates:
            offset = fixed @ effects
            family = sm.families.Binomial()
            model = sm.GLM(np.c_[total, n - total], blocks, family=family, offset=offset)
            predictor = blocks @ model.fit(tol=1e-13, maxiter=200).params + offset
            rate = 1 / (1 + np.exp(-predictor))
            weights = n * rate * (1 - rate)
            working = predictor + (total - n * rate) / weights
        else:
            weights = n / within
            working = total / n / scale
        precision = design.T @ (weights[:, None] * design) + prior
        covariance = np.linalg.inv(precision)
        solution = covariance @ (design.T @ (weights * working))
        before, effects = effects, solution[blocks.shape[1] : blocks.shape[1] + fixed.shape[1]]
        if np.abs(effects - before).max() < 1e-12:
            break
    first = blocks.shape[1]
    slot_effects, rest = effects[:slots], effects[slots:]
    width = root.shape[1]
    found = [root @ rest[place * width : (place + 1) * width] for place in range(len(departures))]
    return slot_effects, covariance[first : first + slots, first : first + slots], found


def random_table(generator, rates):
    slots = int(generator.integers(2, 7))
    hours = float(generator.choice([2, 3, 4]))
    starts = np.sort(generator.choice(np.arange(0, 164, 4), slots, replace=False)).astype(float)
    campaigns = int(generator.integers(2, 5))
    segments = int(generator.integers(1, 4))
    effects = generator.normal(0, 0.4, slots)
    rows = []
    for campaign in range(campaigns):
        level = generator.normal(-2, 0.7)
        for segment in range(segments):
            # Now and then a window is not used.
            for slot in np.flatnonzero(generator.random(slots) < 0.9):
                n = int(generator.integers(40, 900))
                rate = 1 / (1 + np.exp(-(level + effects[slot] + generator.normal(0, 0.2))))
                buyers = int(generator.binomial(n, rate))
                if rates:
                    rows.append((campaign, segment, slot, n, buyers, buyers))
                else:
                    values = np.round(generator.exponential(30, buyers), 2)
                    rows.append((campaign, segment, slot, n, round(values.sum(), 2), round((values**2).sum(), 4)))
    # Every block has a response, and every segment and campaign occurs.
    table = np.array(rows, dtype=float).T
    for campaign in range(campaigns):
        for segment in range(segments):
            block = (table[0] == campaign) & (table[1] == segment)
            if not 0 < table[4][block].sum() or block.sum() < 2:
                return random_table(generator, rates)
    return starts, hours, table, segments


def joined(values):
    return ";".join(format(value, ".11g") for value in np.ravel(values))


def random_cases(generator):
    for number in range(48):
        rates = number % 4 != 3
        starts, hours, table, segments = random_table(generator, rates)
        similarity = SIMILARITIES[int(generator.integers(len(SIMILARITIES)))]
        sigma = float(generator.choice([0.05, 0.2, 0.6]))
        tau = float(generator.choice([0.0, 0.05, 0.2, 0.5]))
        departures = []
        if number % 2 and segments > 1:
            departures = [float(generator.choice([0.05, 0.3])) for _ in range(segments)]
        matrix = correlations((starts + hours / 2) % 168, similarity)
        cells = [table[0], table[1], table[2].astype(int), table[3], table[4], table[5]]
        effects, covariance, found = posterior(cells, len(starts), matrix, sigma, tau, departures, rates)
        columns = [joined(column) for column in table]
        outcome = "rate" if rates else "amount"
        yield [outcome, joined(starts), hours, joined(similarity), sigma, tau, joined(departures), *columns,
               joined(effects), joined(covariance), joined(found)]


if __name__ == "__main__":
    with (FIXTURES / "send_windows.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = "outcome,starts,hours,similarity,sigma,tau,omega,campaign,segment,slot,n,sum,sum_of_squares"
        writer.writerow(f"{names},effects,covariance,departures".split(","))
        writer.writerows(random_cases(np.random.default_rng(20_260)))

"""Off-policy values as weighted regressions on a constant with cluster-robust errors, on real and made-up logs.

Enters: --logs FOLDER, the Open Bandit sample (sends.csv.gz, clicks.csv.gz; policies "random" and "bts" with their
propensities); without it the real cases keep the numbers of the last run. Leaves: fixtures/off_policy_recipients.csv
(sums of three hundred groups of recipients a case, nothing of single recipients) and fixtures/off_policy.csv, and on standard
output each real value beside the other policy's own mean. Regressions by statsmodels, bootstrap by NumPy.

    python -m pip install -r requirements.txt && python off_policy.py --logs FOLDER
"""

import argparse
import csv
import gzip
from collections import defaultdict
from pathlib import Path

import numpy as np
import statsmodels.api as sm

FIXTURES = Path(__file__).parent / "fixtures"
SUMS = "sends,reward,weight,squared_weight,largest_weight,weighted_reward,doubly_robust".split(",")


def regression(values, weights, groups):
    """Mean and cluster-robust standard error with G / (G - 1)."""
    fit = sm.WLS(values, np.ones(len(values)), weights=weights).fit(cov_type="cluster", cov_kwds={"groups": groups})
    return float(fit.params[0]), float(fit.bse[0])


def gain(table, top, bottom):
    """A ratio of sums less the logged mean: numerical derivatives over the covariance of group sums."""
    columns = np.array([table[name] for name in (top, bottom, "reward", "sends")], float)
    total = columns.sum(1)
    value = lambda t: t[0] / t[1] - t[2] / t[3]
    step = 1e-6 * np.maximum(abs(total), 1)
    gradient = [(value(total + h * e) - value(total - h * e)) / (2 * h) for h, e in zip(step, np.eye(4))]
    groups = columns.shape[1]
    # Sums around zero: the derivative takes their mean out.
    parts = np.array(gradient) @ columns
    return float(value(total)), float(np.sqrt(((parts - parts.mean()) ** 2).sum() * groups / (groups - 1)))


def analyse(name, rows, generator):
    """rows: group, reward, weight, predicted (of the logged choice), predicted (of the policy)."""
    group, reward, weight, q_logged, q_target = (np.asarray(column, float) for column in rows)
    scores = q_target + weight * (reward - q_logged)
    ones = np.ones(len(reward))
    table = defaultdict(list)
    for own in np.unique(group):
        mask = group == own
        w, r = weight[mask], reward[mask]
        for key, value in zip(SUMS, (mask.sum(), r.sum(), w.sum(), (w**2).sum(), w.max(), (w * r).sum(), scores[mask].sum())):
            table[key].append(float(value))
        table["recipient"].append(int(own))
    result = {"case": name}
    for key, (value, error) in {
        "logged": regression(reward, ones, group),
        "ips": regression(weight * reward, ones, group),
        "snips": regression(reward, np.maximum(weight, 1e-300), group),
        "dr": regression(scores, ones, group),
        "ips_gain": gain(table, "weighted_reward", "sends"),
        "snips_gain": gain(table, "weighted_reward", "weight"),
        "dr_gain": gain(table, "doubly_robust", "sends"),
        "mean_weight": regression(weight, ones, group),
    }.items():
        result[key], result[f"{key}_error"] = value, error
    result["effective"] = float(weight.sum() ** 2 / (weight**2).sum())
    result["largest"] = float(weight.max() / weight.sum())
    sums = np.array([table["weighted_reward"], table["weight"]])
    drawn = generator.poisson(1, (20_000, sums.shape[1])) @ sums.T
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    result["boot_low"], result["boot_high"] = float(low), float(high)
    return result, table


def made_up(generator):
    for number in range(8):
        groups, slots = int(generator.integers(200, 300)), int(generator.integers(2, 6))
        sends = int(groups * generator.integers(2, 6))
        group = np.r_[np.arange(groups), generator.integers(0, groups, sends - groups)]
        logged = generator.dirichlet([4] * slots)
        target = generator.dirichlet([6] * slots)
        choice = generator.choice(slots, sends, p=logged)
        taste = generator.normal(0, 0.5, groups)[group]
        reward = np.round(generator.normal(choice * 0.3 + taste, 1), 3) if number % 2 else (generator.random(sends) < 0.1 + 0.05 * choice)
        model = generator.normal(0.2, 0.1, slots)
        rows = group, reward, target[choice] / logged[choice], model[choice], np.full(sends, target @ model)
        yield f"made up {number}", rows


def real(folder):
    read = lambda name: csv.DictReader(gzip.open(folder / name, "rt"))
    clicked = {row["message_id"] for row in read("clicks.csv.gz")}
    logs = defaultdict(list)
    for row in read("sends.csv.gz"):
        logs[row["campaign_id"], row["variant"]].append(
            (int(row["item_id"]), int(row["position"]), float(row["propensity"]), row["message_id"] in clicked)
        )
    for campaign in ("all", "men", "women"):
        for variant, other in (("bts", "random"), ("random", "bts")):
            item, position, propensity, click = (np.array(column) for column in zip(*logs[campaign, variant]))
            target_log = logs[campaign, other]
            if other == "random":
                target = np.full(len(item), target_log[0][2])
            else:
                # What the other policy did at each position, all times together.
                seen = defaultdict(float)
                for its_item, its_position, _, _ in target_log:
                    seen[its_item, its_position] += 1
                per_position = defaultdict(float)
                for (_, its_position), times in seen.items():
                    per_position[its_position] += times
                target = np.array([seen[pair] / per_position[pair[1]] for pair in zip(item, position)])
            rate = click.mean()
            own = np.mean([row[3] for row in target_log])
            rows = np.arange(len(item)) % 300, click, target / propensity, np.full(len(item), rate), np.full(len(item), rate)
            yield f"{campaign} {variant} for {other}", rows, own


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--logs", type=Path)
    folder = parser.parse_args().logs
    generator = np.random.default_rng(20_265)
    cases = [analyse(*case, generator) for case in made_up(np.random.default_rng(20_266))]
    if folder:
        for name, rows, own in real(folder):
            cases.append(analyse(name, rows, generator))
            line = cases[-1][0]
            print(
                f"{name}: SNIPS {line['snips']:.5f} ± {1.96 * line['snips_error']:.5f}, IPS {line['ips']:.5f}, DR {line['dr']:.5f},"
                f" its own log {own:.5f}; effective {line['effective']:.0f}, mean weight {line['mean_weight']:.3f}"
            )
    else:
        kept = [list(csv.DictReader((FIXTURES / name).open())) for name in ("off_policy.csv", "off_policy_recipients.csv")]
        for line in kept[0]:
            if not line["case"].startswith("made up"):
                own = [row for row in kept[1] if row["case"] == line["case"]]
                cases.append((line, {key: [row[key] for row in own] for key in ["recipient", *SUMS]}))
    text = lambda value: f"{value:.11g}" if isinstance(value, float) else value
    with (FIXTURES / "off_policy.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, cases[0][0], lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: text(value) for key, value in line.items()} for line, _ in cases)
    with (FIXTURES / "off_policy_recipients.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["case", "recipient", *SUMS])
        for line, table in cases:
            for row in zip(*(table[key] for key in ["recipient", *SUMS])):
                writer.writerow([line["case"], *(text(value) for value in row)])

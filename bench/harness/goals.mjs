/** Compares the figures of one run with the goals. */

/**
 * @param goal `{ of, figure, atMost | atLeast }`; `to`: as a ratio to another contestant, `above`: as a difference;
 * `mandatory`: the worst run counts instead of the median, and the bench fails if the goal is missed
 * @returns the value, and whether the goal is reached; `undefined` if a contestant is missing
 */
export function judge(goal, rows) {
  const statistic = !goal.mandatory ? 'median' : goal.atMost === undefined ? 'min' : 'max'
  const figure = (name) => rows.find((row) => row.name === name)?.figures[goal.figure]?.[statistic]
  const own = figure(goal.of)
  const other = figure(goal.to ?? goal.above ?? goal.of)
  if (own === undefined || other === undefined) return undefined
  const value = goal.to ? own / other : goal.above ? own - other : own
  const reached = goal.atMost === undefined ? value >= goal.atLeast : value <= goal.atMost
  return { value, reached }
}

/** The goal in words: `kit / floor, cpu ≤ 1.15`. */
export function inWords({ of, to, above, figure, atMost, atLeast }) {
  const what = to ? `${of} / ${to}` : above ? `${of} above ${above}` : of
  const bound = atMost ?? atLeast
  return `${what}, ${figure} ${atMost === undefined ? '≥' : '≤'} ${Number(bound.toPrecision(3))}`
}

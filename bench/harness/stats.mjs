/** Order statistics of small samples. */

export function quantile(numbers, q) {
  const sorted = [...numbers].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))]
}

export function median(numbers) {
  return quantile(numbers, 0.5)
}

/** Median and range of each figure over runs: `[{ cpu: 1 }, { cpu: 3 }]` → `{ cpu: { median, min, max } }`. */
export function summarize(runs) {
  const figures = {}
  for (const key of Object.keys(runs[0])) {
    const values = runs.map((run) => run[key])
    figures[key] = { median: median(values), min: Math.min(...values), max: Math.max(...values) }
  }
  return figures
}

/** Runs contestants in turn, so that a slow minute of the machine meets all of them. */
export async function inTurn(contestants, runs, measure) {
  const results = new Map(contestants.map((name) => [name, []]))
  for (let run = 0; run < runs; run++) {
    for (const name of contestants) results.get(name).push(await measure(name))
  }
  return contestants.map((name) => ({ name, figures: summarize(results.get(name)) }))
}

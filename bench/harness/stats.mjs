/** Order statistics of small samples. */
import { stopAll } from './processes.mjs'

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

/**
 * Runs contestants in turn, so that a slow minute of the machine affects all of them. A contestant that fails is
 * skipped, with the reason, and the exit code becomes 1.
 */
export async function inTurn(contestants, runs, measure) {
  const results = new Map(contestants.map((name) => [name, []]))
  for (let run = 0; run < runs; run++) {
    for (const [name, figures] of results) {
      try {
        figures.push(await measure(name))
      } catch (error) {
        console.error(`${name} is skipped: ${error.message}`)
        process.exitCode = 1
        results.delete(name)
        await stopAll()
      }
    }
  }
  return [...results].map(([name, figures]) => ({ name, figures: summarize(figures) }))
}

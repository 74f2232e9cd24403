/** Counters and histograms as plain numbers, which become samples when a registry collects them. */

type Labels = Readonly<Record<string, string | number>>

/** One value of a metric, with its labels. */
export interface Sample {
  readonly value: number
  readonly labels?: Labels
  /** @defaultValue the name of the metric */
  readonly metricName?: string
}

/** The label of values that are in no table. So a label never contains input from outside. */
const OTHER = 'other'

/** Counts by labels with fixed values. All combinations exist from the start, at 0, because rates need that. */
export class Counts {
  readonly #names: readonly string[]
  readonly #tables: readonly ReadonlySet<string>[]
  readonly #counts = new Map<string, { readonly labels: Labels; value: number }>()

  /** @param tables the values of each label, by its name */
  constructor(tables: Readonly<Record<string, readonly string[]>>) {
    this.#names = Object.keys(tables)
    this.#tables = Object.values(tables).map((values) => new Set(values))
    let all: string[][] = [[]]
    for (const values of Object.values(tables)) all = all.flatMap((some) => values.map((value) => [...some, value]))
    for (const values of all) this.#at(values)
  }

  /** @param values one for each label; a value that is in no table counts as `other` */
  add(values: readonly (string | undefined)[], by = 1): void {
    const known = this.#counts.get(values.join())
    if (known !== undefined) known.value += by
    else this.#at(values.map((value, i) => (value && this.#tables[i]?.has(value) ? value : OTHER))).value += by
  }

  samples(): readonly Sample[] {
    return [...this.#counts.values()]
  }

  #at(values: readonly string[]): { value: number } {
    const key = values.join()
    let count = this.#counts.get(key)
    if (count === undefined) {
      count = { labels: Object.fromEntries(this.#names.map((name, i) => [name, values[i] ?? OTHER])), value: 0 }
      this.#counts.set(key, count)
    }
    return count
  }
}

/**
 * A histogram whose observations have a weight: 1,000 streams that get an event at the same time are one observation.
 */
export class Histogram {
  readonly #bounds: readonly number[]
  /** The number of observations in each bucket, not cumulative. The last bucket has no upper bound. */
  readonly #counts: number[]
  #sum = 0

  /** @param bounds ascending */
  constructor(bounds: readonly number[]) {
    this.#bounds = bounds
    this.#counts = Array(bounds.length + 1).fill(0)
  }

  observe(value: number, weight = 1): void {
    let i = 0
    while (value > (this.#bounds[i] ?? Number.POSITIVE_INFINITY)) i++
    this.#counts[i] = (this.#counts[i] ?? 0) + weight
    this.#sum += value * weight
  }

  samples(name: string, labels: Labels = {}): readonly Sample[] {
    let count = 0
    const buckets = this.#counts.map((within, i) => {
      count += within
      return { metricName: `${name}_bucket`, labels: { ...labels, le: this.#bounds[i] ?? '+Inf' }, value: count }
    })
    return [
      ...buckets,
      { metricName: `${name}_sum`, labels, value: this.#sum },
      { metricName: `${name}_count`, labels, value: count },
    ]
  }
}

/** Where metrics are shown: a registry of prom-client, which need not be installed where none is made. */
import { createRequire } from 'node:module'
import { InvalidOptionError } from '../core/errors.js'
import type { Sample } from './numbers.js'

/** As much of a prom-client (15) `Registry` as is used. */
export interface MetricsRegister {
  /** The media type of `metrics()`. */
  readonly contentType: string
  /** All metrics, as text. */
  metrics(): Promise<string>
  /** Adds a metric. Throws if the register has one with its name. */
  registerMetric(metric: RegisteredMetric): void
  /** The metric with this name, or `undefined`. */
  getSingleMetric(name: string): unknown
  /** Removes the metric of this name. */
  removeSingleMetric(name: string): void
}

/** What a registry asks of a metric. */
interface RegisteredMetric {
  get(): Promise<unknown>
  reset(): void
}

/** How the processes of a cluster are put together. */
type Aggregator = 'sum' | 'max'

/**
 * A metric whose numbers are fetched when somebody looks. prom-client's own are written to at each change, and its histograms
 * take one observation at a time.
 */
export class Family implements RegisteredMetric {
  /** Not readonly: a registry in the format of OpenMetrics takes the `_total` off a counter's. */
  name: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly #help: string
  readonly #collect: (name: string) => readonly Sample[]
  readonly #aggregator: Aggregator

  constructor(
    type: 'counter' | 'gauge' | 'histogram',
    name: string,
    help: string,
    collect: (name: string) => readonly Sample[],
    aggregator: Aggregator = 'sum',
  ) {
    this.name = name
    this.type = type
    this.#help = help
    this.#collect = collect
    this.#aggregator = aggregator
  }

  async get(): Promise<object> {
    const { name, type } = this
    return {
      name,
      help: this.#help,
      type,
      values: this.#collect(name),
      aggregator: this.#aggregator,
    }
  }

  reset(): void {
    // Deliberately nothing: what is counted here is what has happened.
  }
}

/** A registry of its own. @throws InvalidOptionError where prom-client is not installed */
export function ownRegister(): MetricsRegister {
  try {
    const { Registry } = createRequire(import.meta.url)('prom-client') as { Registry: new () => MetricsRegister }
    return new Registry()
  } catch (cause) {
    const error = new InvalidOptionError('createMetrics needs prom-client (npm install prom-client), or a register')
    error.cause = cause
    throw error
  }
}

/** Adds all or none. @throws InvalidOptionError if one of the names is taken */
export function registerAll(register: MetricsRegister, families: readonly Family[]): void {
  const taken = families.find(({ name }) => register.getSingleMetric(name) !== undefined)
  if (taken !== undefined) {
    throw new InvalidOptionError(
      `The register has a ${taken.name} already: createMetrics() is called once for a register, or with another prefix`,
    )
  }
  for (const family of families) register.registerMetric(family)
}

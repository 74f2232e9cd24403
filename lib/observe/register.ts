/** The registry of prom-client. prom-client is loaded only if the application gives no registry. */
import { createRequire } from 'node:module'
import { InvalidOptionError } from '../core/errors.js'
import type { Sample } from './numbers.js'

/** The members of a prom-client (15) `Registry` that the kit uses. */
export interface MetricsRegister {
  /** The media type of `metrics()`. */
  readonly contentType: string
  /** Returns all metrics as text. */
  metrics(): Promise<string>
  /** Adds a metric. Throws if the register has a metric with this name. */
  registerMetric(metric: {
    /** Returns the metric with its current values. */
    get(): Promise<unknown>
    /** Sets the values to zero. The kit's metrics ignore it. */
    reset(): void
  }): void
  /** Returns the metric with this name, or `undefined`. */
  getSingleMetric(name: string): unknown
  /** Removes the metric with this name. */
  removeSingleMetric(name: string): void
}

/** How prom-client combines the values of the workers of a cluster. */
type Aggregator = 'sum' | 'max'

/**
 * A metric that reads its values when the registry collects them. prom-client's own metrics must be updated at each
 * change, and their histograms accept one observation at a time.
 */
export class Family {
  /** Not readonly: a registry in the OpenMetrics format removes `_total` from the name of a counter. */
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
    // Deliberately empty: the numbers belong to the tally, not to the registry.
  }
}

/** Creates a registry. @throws InvalidOptionError if prom-client is not installed */
export function ownRegister(): MetricsRegister {
  try {
    const { Registry } = createRequire(import.meta.url)('prom-client') as { Registry: new () => MetricsRegister }
    return new Registry()
  } catch (cause) {
    const error = new InvalidOptionError(
      'createMetrics needs prom-client: run `npm install prom-client`, or pass a `register`',
    )
    error.cause = cause
    throw error
  }
}

/** Adds all metrics or none. @throws InvalidOptionError if the register has a metric with one of the names */
export function registerAll(register: MetricsRegister, families: readonly Family[]): void {
  const taken = families.find(({ name }) => register.getSingleMetric(name) !== undefined)
  if (taken !== undefined) {
    throw new InvalidOptionError(
      `The register already has ${taken.name}: call createMetrics() once for each register, or set another prefix`,
    )
  }
  for (const family of families) register.registerMetric(family)
}

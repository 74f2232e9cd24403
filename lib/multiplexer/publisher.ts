/**
 * **publish** ─► broker: the only caller of the broker's publish methods. Owns that each call is counted and traced.
 */
import type { Broker, PublishOptions } from '../broker/broker.js'
import { diagnostics } from '../core/diagnostics.js'
import { BrokerError } from '../core/errors.js'
import type { EncodedEvent } from '../core/message.js'
import type { Position } from '../core/position.js'
import type { EventTracing, PublishTrace } from '../core/tracing.js'

export class Publisher {
  readonly #broker: Broker
  readonly #tracing: EventTracing | undefined

  constructor(broker: Broker, tracing: EventTracing | undefined) {
    this.#broker = broker
    this.#tracing = tracing
  }

  /** Like `Broker.publishMany`. */
  publish(channel: string, events: readonly EncodedEvent[], options: PublishOptions): Promise<readonly Position[]> {
    const trace = this.#tracing?.publish(channel, events.length)
    const carried = trace === undefined ? events : events.map((event) => traced(event, trace))
    const published = this.#broker.publishMany(channel, carried, options)
    // Without a subscriber: another promise for each event is measurable (bench publish).
    if (trace === undefined && !diagnostics.publishEnd.hasSubscribers) return published
    const end = (error?: unknown): void => {
      trace?.end(error)
      report(channel, events.length, error)
    }
    published.then(() => end(), end)
    return published
  }

  /** Like `Broker.end`. */
  end(channel: string, last: EncodedEvent | undefined): Promise<Position> {
    const events = last === undefined ? 0 : 1
    const trace = events === 0 ? undefined : this.#tracing?.publish(channel, events)
    const ended = this.#broker.end(channel, last && traced(last, trace))
    const end = (error?: unknown): void => {
      trace?.end(error)
      report(channel, events, error)
    }
    ended.then(() => end(), end)
    return ended
  }

  /** Like `Broker.offer`. */
  offer(channel: string, event: EncodedEvent): boolean {
    const trace = this.#tracing?.publish(channel, 1)
    const taken = this.#broker.offer(channel, traced(event, trace))
    trace?.end(
      taken
        ? undefined
        : new BrokerError(
            'ERR_SSE_BROKER_UNAVAILABLE',
            'The broker did not accept the event: it is closed, or too many events wait',
          ),
    )
    if (taken) report(channel, 1)
    return taken
  }
}

function traced(event: EncodedEvent, trace: PublishTrace | undefined): EncodedEvent {
  return trace?.trace === undefined ? event : { ...event, trace: trace.trace }
}

function report(channel: string, events: number, error?: unknown): void {
  if (diagnostics.publishEnd.hasSubscribers) diagnostics.publishEnd.publish({ channel, events, error })
}

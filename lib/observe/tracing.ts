/**
 * publish ─► delivery ─► acknowledgement, as one **trace** of short spans. No span lasts as long as a stream.
 *
 * ```
 *   (the caller's span) ─► sse publish ─┬─► sse deliver   one for each batch of a channel and process
 *                                       └─► sse ack       one for each acknowledgement
 * ```
 * The event carries the trace context, also through Redis, but only if its trace is sampled. Owns that a failure of the
 * tracer never affects events or streams.
 */
import { InvalidOptionError } from '../core/errors.js'
import type { LogEntry } from '../core/message.js'
import { EventTracing, type PublishTrace, type TracedAck, type Tracing } from '../core/tracing.js'

/** The members of `@opentelemetry/api` that the kit uses. */
export interface OpenTelemetryApi {
  /** The context without a span. */
  readonly ROOT_CONTEXT: object
  /** Contexts. */
  readonly context: {
    /** Returns the context of the running code. */
    active(): object
  }
  /** Access to tracers, and to the spans of contexts. */
  readonly trace: {
    /** Returns the global provider's tracer with this name. */
    getTracer(name: string): OpenTelemetryTracer
    /** Returns the identity of a context's span. */
    getSpanContext(context: object): OpenTelemetrySpanContext | undefined
    /** Returns a context in which this span is the parent. */
    setSpanContext(context: object, spanContext: OpenTelemetrySpanContext): object
  }
}

/** The members of a tracer that the kit uses. */
export interface OpenTelemetryTracer {
  /** Starts a span. Without `context` its parent is the active span. */
  startSpan(name: string, options?: OpenTelemetrySpanOptions, context?: object): OpenTelemetrySpan
}

/** The options of a span that the kit sets. */
export interface OpenTelemetrySpanOptions {
  /** A value of `SpanKind`. */
  kind?: number
  /** When the operation began, in ms since 1970. */
  startTime?: number
  /** What the operation did. */
  attributes?: Record<string, string | number | undefined>
  /** Spans of other traces that belong to it. */
  links?: {
    /** The identity of the linked span. */
    context: OpenTelemetrySpanContext
  }[]
}

/** The members of a span that the kit uses. */
export interface OpenTelemetrySpan {
  /** Returns the span's identity. */
  spanContext(): OpenTelemetrySpanContext
  /** Sets whether the operation failed. */
  setStatus(status: {
    /** A value of `SpanStatusCode`. */
    code: number
    /** Why it failed. */
    message?: string
  }): unknown
  /** Ends the span now. */
  end(): void
}

/** The identity of a span (W3C Trace Context). */
export interface OpenTelemetrySpanContext {
  /** 32 hexadecimal digits. */
  readonly traceId: string
  /** 16 hexadecimal digits. */
  readonly spanId: string
  /** A value of `TraceFlags`. */
  readonly traceFlags: number
  /** The span is one of another process. */
  readonly isRemote?: boolean
}

/** Options of `createTracing`. */
export interface TracingOptions {
  /** The API module: `import * as api from '@opentelemetry/api'`. */
  readonly api: OpenTelemetryApi
  /**
   * Creates the spans. Its provider samples and exports them.
   * @defaultValue the global provider's tracer with the name `express-sse-kit`
   */
  readonly tracer?: OpenTelemetryTracer
}

/** Values of the enumerations `SpanKind`, `SpanStatusCode` and `TraceFlags` of `@opentelemetry/api`. */
const PRODUCER = 3
const CONSUMER = 4
const ERROR = 2
const SAMPLED = 1

/** The maximum number of further traces of a batch that its span links to. The span itself is in the first trace. */
const MAX_LINKS = 8

/**
 * The trace context of an event: W3C's traceparent without version and flags, which are the same for all sampled
 * traces.
 */
const TRACE = /^([0-9a-f]{32})-([0-9a-f]{16})$/

/**
 * Traces events from publishing to acknowledgement: `createMultiplexer({ tracing: createTracing({ api }) })`, in every
 * process. A publish continues the active trace or starts a new one; the tracer's sampler decides. If the tracer
 * throws, the events are published without a trace, and the first error is reported as a warning
 * (`process.emitWarning`, code `SSE_TRACING`).
 * @throws InvalidOptionError
 */
export function createTracing(options: TracingOptions): Tracing {
  return new OpenTelemetryTracing(options)
}

class OpenTelemetryTracing extends EventTracing {
  readonly #api: OpenTelemetryApi
  readonly #tracer: OpenTelemetryTracer
  #warned = false

  constructor({ api, tracer }: TracingOptions) {
    super()
    if (typeof api?.trace?.getTracer !== 'function') {
      throw new InvalidOptionError('api must be the module @opentelemetry/api')
    }
    this.#api = api
    this.#tracer = tracer ?? api.trace.getTracer('express-sse-kit')
  }

  publish(channel: string, events: number): PublishTrace | undefined {
    return this.#guarded((): PublishTrace => {
      const attributes = { ...messaging(channel, 'publish'), 'messaging.batch.message_count': events }
      const active = this.#api.context.active()
      const span = this.#tracer.startSpan('sse publish', { kind: PRODUCER, attributes }, active)
      return {
        trace: printTrace(span.spanContext()),
        end: (error) =>
          this.#guarded(() => {
            if (error !== undefined) {
              span.setStatus({ code: ERROR, message: error instanceof Error ? error.message : 'failed' })
            }
            span.end()
          }),
      }
    })
  }

  deliver(channel: string, entries: readonly LogEntry[], streams: number, beganAt: number): void {
    const [parent, ...others] = tracesOf(entries)
    if (parent === undefined) return
    this.#record('deliver', channel, parent, {
      startTime: beganAt,
      attributes: { 'messaging.batch.message_count': entries.length, 'sse.streams': streams },
      links: others.map((each) => ({ context: each })),
    })
  }

  acknowledge(channel: string, entry: LogEntry, { stream, latencyMs }: TracedAck): void {
    const parent = parseTrace(entry.trace)
    if (parent === undefined) return
    const { trace, context } = this.#api
    const request = this.#guarded(() => trace.getSpanContext(context.active()))
    this.#record('ack', channel, parent, {
      attributes: { 'sse.stream': stream, 'sse.client.latency_ms': latencyMs },
      links: request === undefined ? [] : [{ context: request }],
    })
  }

  /** Creates and ends a span whose start time is that of the recorded operation. */
  #record(name: string, channel: string, parent: OpenTelemetrySpanContext, options: OpenTelemetrySpanOptions): void {
    this.#guarded(() => {
      const attributes = { ...options.attributes, ...messaging(channel, name) }
      const within = this.#api.trace.setSpanContext(this.#api.ROOT_CONTEXT, parent)
      this.#tracer.startSpan(`sse ${name}`, { ...options, kind: CONSUMER, attributes }, within).end()
    })
  }

  /** Runs `work`. An error of the tracer must not affect the event. */
  #guarded<T>(work: () => T): T | undefined {
    try {
      return work()
    } catch (error) {
      const reason = error instanceof Error ? error.message : 'the tracer threw a value that is not an Error'
      if (!this.#warned) {
        process.emitWarning(`Tracing failed; events are published without traces: ${reason}`, { code: 'SSE_TRACING' })
      }
      this.#warned = true
      return undefined
    }
  }
}

/** Attributes of OpenTelemetry's semantic conventions for messaging. */
function messaging(channel: string, operation: string): Record<string, string> {
  return {
    'messaging.system': 'express-sse-kit',
    'messaging.operation.name': operation,
    'messaging.destination.name': channel,
  }
}

/** @returns `undefined` if the trace is not sampled, or its ids do not have the W3C format */
function printTrace({ traceId, spanId, traceFlags }: OpenTelemetrySpanContext): string | undefined {
  const text = `${traceId}-${spanId}`
  return (traceFlags & SAMPLED) !== 0 && TRACE.test(text) ? text : undefined
}

/** @returns `undefined` for a text that the kit did not write */
function parseTrace(text = ''): OpenTelemetrySpanContext | undefined {
  const [, traceId, spanId] = TRACE.exec(text) ?? []
  if (traceId === undefined || spanId === undefined) return undefined
  return { traceId, spanId, traceFlags: SAMPLED, isRemote: true }
}

/** The distinct traces of the entries: at most one parent and `MAX_LINKS` links. */
function tracesOf(entries: readonly LogEntry[]): OpenTelemetrySpanContext[] {
  const texts = new Set<string>()
  for (const { trace } of entries) {
    if (trace !== undefined && texts.size <= MAX_LINKS) texts.add(trace)
  }
  return [...texts].map(parseTrace).filter((each) => each !== undefined)
}

/**
 * publish ─► delivery ─► acknowledgement, as one **trace**: short spans, of which none lives as long as a stream.
 *
 * ```
 *   (the caller's span) ─► sse publish ─┬─► sse deliver   one for each batch of a channel and process
 *                                       └─► sse ack       one for each acknowledgement
 * ```
 * What joins them travels with the event, through Redis as well, and only with events whose trace is sampled. Owns that no
 * stream feels it if tracing fails.
 */
import { InvalidOptionError } from '../core/errors.js'
import type { LogEntry } from '../core/message.js'
import type { PublishTrace, Tracing } from '../core/tracing.js'

/** As much of `@opentelemetry/api` as is used. */
export interface OpenTelemetryApi {
  /** The context without a span. */
  readonly ROOT_CONTEXT: object
  /** Contexts. */
  readonly context: {
    /** The context of the code that runs now. */
    active(): object
  }
  /** Tracers, and the spans of contexts. */
  readonly trace: {
    /** The tracer with this name, of the global provider. */
    getTracer(name: string): SpanTracer
    /** What identifies the span of a context. */
    getSpanContext(context: object): SpanContext | undefined
    /** A context with this span as its parent. */
    setSpanContext(context: object, spanContext: SpanContext): object
  }
}

interface SpanTracer {
  startSpan(name: string, options?: SpanOptions, context?: object): Span
}

interface SpanContext {
  readonly traceId: string
  readonly spanId: string
  readonly traceFlags: number
  readonly isRemote?: boolean
}

interface SpanOptions {
  kind?: number
  startTime?: number
  attributes?: Record<string, string | number | undefined>
  links?: { context: SpanContext }[]
}

interface Span {
  spanContext(): SpanContext
  setStatus(status: { code: number; message?: string }): unknown
  end(): void
}

/** Options of `createTracing`. */
export interface TracingOptions {
  /** `import * as api from '@opentelemetry/api'` */
  readonly api: OpenTelemetryApi
  /** What makes the spans; its provider samples and exports them. @defaultValue the global provider's, for `express-sse-kit` */
  readonly tracer?: SpanTracer
}

/** Of the enumerations of `@opentelemetry/api`. */
const PRODUCER = 3
const CONSUMER = 4
const ERROR = 2
const SAMPLED = 1

/** Traces of one batch that its span is linked to, beside the one that it is in. */
const MAX_LINKS = 8

/** What travels: W3C's traceparent without what is the same for all that are sampled. */
const TRACE = /^([0-9a-f]{32})-([0-9a-f]{16})$/

/**
 * Traces events from publishing to acknowledgement: `createMultiplexer({ tracing: createTracing({ api }) })`, in every process. A
 * publish goes on the trace that is active, or begins one, as the tracer's sampler says. If the tracer throws, a warning
 * says so once, and events go on untraced.
 * @throws InvalidOptionError
 */
export function createTracing({ api, tracer: given }: TracingOptions): Tracing {
  if (typeof api?.trace?.getTracer !== 'function')
    throw new InvalidOptionError('api must be that of @opentelemetry/api')
  const { trace, context, ROOT_CONTEXT } = api
  const tracer = given ?? trace.getTracer('express-sse-kit')
  let warned = false

  /** Whatever a tracer does, an event must not suffer for it. */
  function guarded<T>(work: () => T): T | undefined {
    try {
      return work()
    } catch (error) {
      const reason = error instanceof Error ? error.message : 'what it threw is no Error'
      if (!warned) process.emitWarning(`Tracing failed, and events go on without: ${reason}`, { code: 'SSE_TRACING' })
      warned = true
      return undefined
    }
  }

  /** A span of no length in time but that of what it tells of. */
  function tell(name: string, channel: string, parent: SpanContext, options: SpanOptions): void {
    const attributes = { ...options.attributes, ...messaging(channel, name) }
    const within = trace.setSpanContext(ROOT_CONTEXT, parent)
    tracer.startSpan(`sse ${name}`, { ...options, kind: CONSUMER, attributes }, within).end()
  }

  return {
    publish: (channel, events) =>
      guarded((): PublishTrace => {
        const attributes = { ...messaging(channel, 'publish'), 'messaging.batch.message_count': events }
        const span = tracer.startSpan('sse publish', { kind: PRODUCER, attributes }, context.active())
        return {
          trace: printTrace(span.spanContext()),
          end: (error) =>
            guarded(() => {
              if (error !== undefined) {
                span.setStatus({ code: ERROR, message: error instanceof Error ? error.message : 'failed' })
              }
              span.end()
            }),
        }
      }),

    deliver: (channel, entries, streams, beganAt) => {
      const [parent, ...others] = tracesOf(entries)
      if (parent === undefined) return
      guarded(() =>
        tell('deliver', channel, parent, {
          startTime: beganAt,
          attributes: { 'messaging.batch.message_count': entries.length, 'sse.streams': streams },
          links: others.map((each) => ({ context: each })),
        }),
      )
    },

    acknowledge: (channel, entry, { stream, latencyMs }) => {
      const parent = parseTrace(entry.trace)
      if (parent === undefined) return
      guarded(() => {
        const request = trace.getSpanContext(context.active())
        tell('ack', channel, parent, {
          attributes: { 'sse.stream': stream, 'sse.client.latency_ms': latencyMs },
          links: request === undefined ? [] : [{ context: request }],
        })
      })
    },
  }
}

/** After OpenTelemetry's semantic conventions for messaging. */
function messaging(channel: string, operation: string): Record<string, string> {
  return {
    'messaging.system': 'express-sse-kit',
    'messaging.operation.name': operation,
    'messaging.destination.name': channel,
  }
}

/** `undefined` also for what a tracer made up that cannot travel. */
function printTrace({ traceId, spanId, traceFlags }: SpanContext): string | undefined {
  const text = `${traceId}-${spanId}`
  return (traceFlags & SAMPLED) !== 0 && TRACE.test(text) ? text : undefined
}

/** @returns `undefined` for what the kit did not write */
function parseTrace(text = ''): SpanContext | undefined {
  const [, traceId, spanId] = TRACE.exec(text) ?? []
  if (traceId === undefined || spanId === undefined) return undefined
  return { traceId, spanId, traceFlags: SAMPLED, isRemote: true }
}

/** Each once, as many as a span has a parent and links. */
function tracesOf(entries: readonly LogEntry[]): SpanContext[] {
  const texts = new Set<string>()
  for (const { trace } of entries) {
    if (trace !== undefined && texts.size <= MAX_LINKS) texts.add(trace)
  }
  return [...texts].map(parseTrace).filter((each) => each !== undefined)
}

import { AsyncLocalStorage } from 'node:async_hooks'
import type { Context, ContextManager, Tracer } from '@opentelemetry/api'
import * as api from '@opentelemetry/api'
import {
  AlwaysOnSampler,
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  type Sampler,
  SimpleSpanProcessor,
  type SpanExporter,
} from '@opentelemetry/sdk-trace-base'

/** The tracer of one process, with its exported spans. */
export class TestTracer {
  readonly tracer: Tracer
  readonly #exporter = new InMemorySpanExporter()
  #started = 0

  constructor(sampler: Sampler = new AlwaysOnSampler()) {
    const processor = new SimpleSpanProcessor(this.#exporter)
    processor.onStart = () => {
      this.#started++
    }
    this.tracer = new BasicTracerProvider({ sampler, spanProcessors: [processor] }).getTracer('test')
  }

  get spans(): ReadableSpan[] {
    return this.#exporter.getFinishedSpans()
  }

  /** The spans that have started and not ended. */
  get open(): number {
    return this.#started - this.spans.length
  }

  named(name: string): ReadableSpan[] {
    return this.spans.filter((span) => span.name === name)
  }
}

export function tracerOf(exporter: SpanExporter): Tracer {
  return new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }).getTracer('test')
}

/** A minimal context manager for OpenTelemetry: the context continues through promises. */
class AsyncContexts implements ContextManager {
  readonly #storage = new AsyncLocalStorage<Context>()

  active(): Context {
    return this.#storage.getStore() ?? api.ROOT_CONTEXT
  }

  with<A extends unknown[], F extends (...args: A) => ReturnType<F>>(
    context: Context,
    work: F,
    thisArg?: ThisParameterType<F>,
    ...args: A
  ): ReturnType<F> {
    return this.#storage.run(context, () => work.call(thisArg, ...args))
  }

  bind<T>(_context: Context, target: T): T {
    return target
  }

  enable(): this {
    return this
  }

  disable(): this {
    return this
  }
}

export function followContexts(): void {
  api.context.setGlobalContextManager(new AsyncContexts())
}

import { useContext, useEffect, useRef, useState } from 'react'
import {
  type ClientEvent,
  type ClientListener,
  type ClientOptions,
  type ClientState,
  createEventStream,
} from '../client/index.js'
import { BusContext } from './provider.js'

/** Options of `useSSE`. */
export interface UseSseOptions extends Pick<ClientOptions, 'cursor' | 'onState'> {
  /** With a token of its own the hook has a stream of its own, also below an `SseProvider`. @defaultValue the provider's */
  readonly token?: ClientOptions['token']
  /** `false` keeps the stream closed. @defaultValue true */
  readonly enabled?: boolean
}

/** By event type; `*` hears everything. */
export type SseHandlers<Events extends object = Record<string, unknown>> = {
  readonly [Type in keyof Events]?: ClientListener<Events[Type]>
} & {
  readonly [type in '*' | `sse.${string}`]?: ClientListener
}

/**
 * Listens to a stream while the component is mounted: below an `SseProvider` to the one that all share, else to one of its own.
 * Handlers and options may change without a reconnect, only another `url` (or `enabled`) is another stream. Events render
 * nothing; what handlers set does.
 * @returns the connection's state
 */
export function useSSE<Events extends object = Record<string, unknown>>(
  url: string,
  handlers: SseHandlers<Events>,
  options: UseSseOptions = {},
): ClientState {
  const [state, setState] = useState<ClientState>('connecting')
  const latest = useRef({ handlers, options })
  latest.current = { handlers, options }
  const { enabled = true } = options
  const shared = useContext(BusContext)
  const bus = options.token === undefined ? shared : undefined

  useEffect(() => {
    if (!enabled) return
    const streamOptions: ClientOptions = {
      cursor: latest.current.options.cursor,
      onState: (change) => {
        setState(change.state)
        latest.current.options.onState?.(change)
      },
    }
    const stream = bus
      ? bus.stream(url, streamOptions)
      : createEventStream(url, {
          ...streamOptions,
          token: (...request) => latest.current.options.token?.(...request),
        })
    const stop = stream.on('*', (event) => {
      const { handlers } = latest.current as { handlers: Readonly<Record<string, (event: ClientEvent) => void>> }
      handlers[event.type]?.(event)
      handlers['*']?.(event)
    })
    return () => {
      stop()
      stream.close()
    }
  }, [url, enabled, bus])

  return enabled ? state : 'closed'
}

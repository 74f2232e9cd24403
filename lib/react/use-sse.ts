import { useContext, useEffect, useRef, useState } from 'react'
import {
  type ClientEvent,
  type ClientListener,
  type ClientOptions,
  type ClientState,
  createEventStream,
} from '../client/index.js'
import { callSafely } from '../client/listeners.js'
import { BusContext } from './bus-context.js'

/** Options of `useSSE`. */
export interface UseSseOptions extends Pick<ClientOptions, 'cursor' | 'onState'> {
  /** With this option the hook opens its own stream, also below an `SseProvider`. @defaultValue the provider's token */
  readonly token?: ClientOptions['token']
  /** `false`: no stream, and the state is `closed`. @defaultValue true */
  readonly enabled?: boolean
}

/** Handlers by event type; `*` handles all events, including control events. */
export type SseHandlers<Events extends object = Record<string, unknown>> = {
  readonly [Type in keyof Events]?: ClientListener<Events[Type]>
} & {
  readonly [type in '*' | `sse.${string}`]?: ClientListener
}

/**
 * Listens to a stream while the component is mounted: below an `SseProvider` to the shared stream, otherwise to its
 * own. New handlers and options do not reconnect; a change of `url` or `enabled` does. An event does not render the
 * component, unless its handler sets state.
 * @returns the state of the connection
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
      // Each is called, also if the other one throws.
      callSafely(handlers[event.type], event)
      callSafely(handlers['*'], event)
    })
    return () => {
      stop()
      stream.close()
    }
  }, [url, enabled, bus])

  return enabled ? state : 'closed'
}

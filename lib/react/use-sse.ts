import { useEffect, useRef, useState } from 'react'
import { type ClientListener, type ClientOptions, type ClientState, createEventStream } from '../client/index.js'

export interface UseSseOptions extends Pick<ClientOptions, 'token' | 'cursor' | 'onState'> {
  /** `false` keeps the stream closed. @defaultValue true */
  readonly enabled?: boolean
}

/**
 * Keeps one stream open while the component is mounted; handlers and options may change without a reconnect, only
 * another `url` (or `enabled`) opens another stream.
 * @param handlers by event type; `*` hears everything
 * @returns the connection's state
 */
export function useSSE(
  url: string,
  handlers: Readonly<Record<string, ClientListener>>,
  options: UseSseOptions = {},
): ClientState {
  const [state, setState] = useState<ClientState>('connecting')
  const latest = useRef({ handlers, options })
  latest.current = { handlers, options }
  const { enabled = true } = options

  useEffect(() => {
    if (!enabled) return
    const { cursor } = latest.current.options
    const stream = createEventStream(url, {
      ...(cursor !== undefined && { cursor }),
      token: (refresh) => latest.current.options.token?.(refresh),
      onState: (change) => {
        setState(change.state)
        latest.current.options.onState?.(change)
      },
    })
    const stop = stream.on('*', (event) => {
      latest.current.handlers[event.type]?.(event)
      latest.current.handlers['*']?.(event)
    })
    return () => {
      stop()
      stream.close()
    }
  }, [url, enabled])

  return enabled ? state : 'closed'
}

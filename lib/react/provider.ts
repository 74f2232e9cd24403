import { createElement, type ReactNode, useContext, useMemo, useRef, useSyncExternalStore } from 'react'
import { createEventBus, type EventBusOptions } from '../client/bus.js'
import type { ClientStateChange } from '../client/index.js'
import { BusContext } from './bus-context.js'

/** Properties of `SseProvider`. */
export interface SseProviderProps extends EventBusOptions {
  /** The components that share the connections. */
  readonly children?: ReactNode
}

/**
 * One connection for all components below that use the same URL, and with `tabs` for all tabs. Set `identity` if the
 * user can change: each identity has its own connections. `token` may be a new function in each render. For all other
 * options the values of the first render count.
 */
export function SseProvider({ children, ...options }: SseProviderProps): ReactNode {
  const latest = useRef(options)
  latest.current = options
  const { identity, tabs } = options
  // biome-ignore lint/correctness/useExhaustiveDependencies: for the other options the values of the first render count
  const bus = useMemo(
    () => createEventBus({ ...options, token: (...request) => latest.current.token?.(...request) }),
    [identity, tabs],
  )
  return createElement(BusContext.Provider, { value: bus }, children)
}

const SERVER_STATE: ClientStateChange = { state: 'connecting' }

/**
 * The state of the provider's connection to `url`; without `url`, the worst state of its connections. Opens no
 * connection. Renders the component on each change of that state, and on nothing else.
 * @throws Error outside of an `SseProvider`
 */
export function useSSEState(url?: string): ClientStateChange {
  const bus = useContext(BusContext)
  if (bus === undefined) throw new Error('useSSEState needs an <SseProvider>; add one above this component')
  return useSyncExternalStore(
    bus.onState,
    () => bus.status(url),
    () => SERVER_STATE,
  )
}

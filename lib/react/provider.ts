import { createContext, createElement, type ReactNode, useContext, useMemo, useRef, useSyncExternalStore } from 'react'
import { createEventBus, type EventBus, type EventBusOptions } from '../client/bus.js'
import type { ClientStateChange } from '../client/index.js'

/** Properties of `SseProvider`. */
export interface SseProviderProps extends EventBusOptions {
  /** The components that share the connections. */
  readonly children?: ReactNode
}

/** Undefined outside of a provider. @internal */
export const BusContext = createContext<EventBus | undefined>(undefined)

/**
 * One connection for all components below that use the same URL, and with `tabs` for all tabs. Give `identity` where users may
 * change: another one has connections of its own. `token` may be another function with each render; the other options are
 * those of the first.
 */
export function SseProvider({ children, ...options }: SseProviderProps): ReactNode {
  const latest = useRef(options)
  latest.current = options
  const { identity, tabs } = options
  // biome-ignore lint/correctness/useExhaustiveDependencies: what is not named here is that of the first render
  const bus = useMemo(
    () => createEventBus({ ...options, token: (...request) => latest.current.token?.(...request) }),
    [identity, tabs],
  )
  return createElement(BusContext.Provider, { value: bus }, children)
}

const ON_THE_SERVER: ClientStateChange = { state: 'connecting' }

/**
 * The state of the provider's connection to `url`; without one, of the connection that is worst off. Opens none. Renders with each
 * change of state, and with nothing else.
 */
export function useSSEState(url?: string): ClientStateChange {
  const bus = useContext(BusContext)
  if (bus === undefined) throw new Error('useSSEState needs an <SseProvider> above it')
  return useSyncExternalStore(
    bus.onState,
    () => bus.status(url),
    () => ON_THE_SERVER,
  )
}

/**
 * The global `kit` of the pages of the client's tests. Bundled by kit-page.ts. Each page opens one stream, bus or tree,
 * and records its events.
 */
import { createElement, type ReactNode, StrictMode } from 'react'
import { createRoot, type Root } from 'react-dom/client'
import { createEventBus } from '../../lib/client/bus.js'
import {
  type ClientOptions,
  type ClientStateChange,
  createEventStream,
  type Listenable,
} from '../../lib/client/index.js'
import { type SseHandlers, SseProvider, useSSE, useSSEState } from '../../lib/react/index.js'

interface Numbers {
  n: number
}

interface Rendered {
  /** How many components listen. @defaultValue 2 */
  readonly mounted?: number
  /**
   * The factor by which handlers multiply the numbers, so that the test sees which handler was called.
   * @defaultValue 1
   */
  readonly factor?: number
  /** Whether the handler of the numbers throws. */
  readonly throws?: boolean
  /** Whether the components have their own token. */
  readonly own?: boolean
  readonly identity?: string
  /** Whether there is a provider. @defaultValue true */
  readonly provided?: boolean
}

class Kit {
  /** The numbers of all events of type `n`; -1 for `sse.reset`. */
  readonly seen: number[] = []
  /** The states with their reasons. */
  readonly states: string[] = []
  /** How many events of type `n` the components' handlers for all events received. */
  all = 0
  /** How often the components were rendered. */
  readonly rendered = { listener: 0, state: 0 }
  stream: Listenable<Numbers> | undefined
  tickets = 0
  cursor = ''
  /** The state that the last rendered component returned from `useSSE`. */
  state = ''
  /** The states that were passed to `onState` of the components. */
  readonly listenerStates: string[] = []
  #root: Root | undefined
  #props: Rendered = {}

  open(options: ClientOptions & { readonly withTickets?: boolean }): void {
    const token = options.withTickets ? () => `ticket-${++this.tickets}` : undefined
    this.#listen(createEventStream('/stream', { retryMs: 20, token, ...options, onState: this.onState }))
  }

  share(identity: string, cursor: string): void {
    const bus = createEventBus({ tabs: true, identity, lingerMs: 0 })
    this.#listen(bus.stream('/stream', { cursor, onState: this.onState }))
  }

  #listen(stream: Listenable<Numbers>): void {
    this.stream = stream
    stream.on('n', (event) => void this.seen.push(event.json()))
    stream.on('sse.reset', () => void this.seen.push(-1))
  }

  readonly onState = ({ state, reason = '' }: ClientStateChange): void => {
    this.states.push(`${state} ${reason}`.trim())
  }

  /** Renders again with changed options. */
  render(changes: Rendered): void {
    this.#props = { ...this.#props, ...changes }
    const { mounted = 2, factor = 1, throws = false, own = false, identity = '', provided = true } = this.#props
    const props = { factor, throws, own }
    const listeners = Array.from({ length: mounted }, (_, key) => createElement(Listener, { key, ...props }))
    const token = () => `token-${factor}`
    const tree = provided
      ? createElement(SseProvider, { identity, token, lingerMs: 100 }, createElement(State), ...listeners)
      : listeners
    this.#root ??= createRoot(document.getElementById('root') as HTMLElement)
    this.#root.render(createElement(StrictMode, null, tree))
  }

  unmount(): void {
    this.#root?.unmount()
  }
}

function Listener({ factor, throws, own }: Pick<Required<Rendered>, 'factor' | 'throws' | 'own'>): ReactNode {
  kit.rendered.listener++
  const onState = ({ state }: ClientStateChange) => void kit.listenerStates.push(state)
  const options = { cursor: kit.cursor, onState, ...(own && { token: () => 'own' }) }
  const handlers: SseHandlers<Numbers> = {
    n: (event) => {
      kit.seen.push(factor * event.json())
      if (throws) throw new Error('the handler throws')
    },
    '*': ({ type }) => {
      if (type === 'n') kit.all++
    },
  }
  kit.state = useSSE<Numbers>('/stream', handlers, options)
  return null
}

function State(): ReactNode {
  kit.rendered.state++
  kit.onState(useSSEState('/stream'))
  return null
}

declare global {
  var kit: Kit
}

globalThis.kit = new Kit()

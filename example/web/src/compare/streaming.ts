/**
 * The same dashboard with streams: loads each list once, then gets changes. It has one stream for each list, as the
 * poller has one timer for each. The inbox needs only the first stream, whose events contain the messages, too.
 */
import { type ClientStateChange, type ClientStream, createEventStream } from 'express-sse-kit/client'
import {
  type Conversations,
  type ConversationsAction,
  conversationsReducer,
  NO_CONVERSATIONS,
  newestFirst,
} from '../conversations-state.js'
import type { ConversationReadEvent, Message, NewMessageEvent } from '../types.js'
import type { StartSide } from './side.js'

/** The delay before a failed start is retried. */
const RETRY_MS = 3000

export const startStreaming: StartSide = (options) => {
  const { api, conversationId, screen } = options
  const streams: ClientStream[] = []
  let list: Conversations = NO_CONVERSATIONS
  let stopped = false

  async function loadList(): Promise<string> {
    change({ type: 'loading' })
    const listing = await api.conversations()
    change({ type: 'loaded', listing })
    return listing.cursor
  }

  async function loadThread(): Promise<string> {
    const { items, cursor } = await api.messages(conversationId)
    screen.messages(items)
    return cursor
  }

  function change(action: ConversationsAction): void {
    list = conversationsReducer(list, action)
    screen.conversations(newestFirst(list))
  }

  function listen(path: string, cursor: string, load: () => Promise<string>): ClientStream {
    const stream = createEventStream(`/api/v1/sse/${path}`, {
      cursor,
      token: options.session.token,
      fetch: options.meter.fetch,
      onState: (change) => screen.trouble(troubleOf(change)),
    })
    const reload = (): void => void load().catch(report)
    stream.on('sse.reset', reload)
    stream.on('sse.gap', reload)
    streams.push(stream)
    return stream
  }

  function report(error: unknown): void {
    if (!stopped) screen.trouble(error instanceof Error ? error.message : String(error))
  }

  async function start(): Promise<void> {
    const [listCursor, threadCursor] = await Promise.all([loadList(), loadThread(), api.dashboard()])
    if (stopped) return
    screen.trouble(undefined)
    const conversations = listen('conversations', listCursor, loadList)
    conversations.on('new_message', (event) => {
      change({ type: 'changed', conversation: (event.json() as NewMessageEvent).conversation })
    })
    conversations.on('conversation_read', (event) => {
      change({ type: 'read', id: (event.json() as ConversationReadEvent).conversation_id })
    })
    listen(`messages/${encodeURIComponent(conversationId)}`, threadCursor, loadThread).on('message', (event) => {
      screen.messages([event.json() as Message])
    })
  }

  let retryTimer: ReturnType<typeof setTimeout> | undefined
  function begin(): void {
    start().catch((error: unknown) => {
      report(error)
      if (!stopped) retryTimer = setTimeout(begin, RETRY_MS)
    })
  }
  begin()
  return () => {
    stopped = true
    clearTimeout(retryTimer)
    for (const stream of streams) stream.close()
  }
}

function troubleOf({ state, reason }: ClientStateChange): string | undefined {
  if (state === 'waiting') return `Reconnecting: ${reason ?? 'the connection ended'}`
  return state === 'closed' ? `Disconnected: ${reason ?? ''}` : undefined
}

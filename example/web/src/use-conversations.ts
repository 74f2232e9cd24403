/** The tenant's conversations: the list once, then its stream. The stream's connection is the one the page shows. */
import { type ClientStateChange, createEventStream } from 'express-sse-kit/client'
import { useEffect, useReducer, useRef, useState } from 'react'
import type { Api } from './api.js'
import { conversationsReducer, NO_CONVERSATIONS, newestFirst } from './conversations-state.js'
import type { Session } from './session.js'
import type { ConversationReadEvent, ConversationSummary, Message, NewMessageEvent } from './types.js'
import { useListing } from './use-listing.js'

/** What the indicator shows. */
export interface Connection extends ClientStateChange {
  /** It has been open before, so `connecting` is a reconnect. */
  readonly again: boolean
  /** In state `waiting`: when the next attempt is made, in ms since 1970. */
  readonly retryAt?: number
}

export interface ConversationsFeed {
  readonly conversations: readonly ConversationSummary[]
  readonly loaded: boolean
  readonly error: Error | undefined
  readonly connection: Connection
  readonly reload: () => void
  /** Clears the badge on this page; the server is told by whoever calls it. */
  readonly markRead: (id: string) => void
}

const FIRST_CONNECTION: Connection = { state: 'connecting', again: false }

export function useConversations(
  session: Session,
  api: Api,
  onIncoming: (message: Message, conversation: ConversationSummary) => void,
): ConversationsFeed {
  const [state, dispatch] = useReducer(conversationsReducer, NO_CONVERSATIONS)
  const [connection, setConnection] = useState(FIRST_CONNECTION)
  const { cursor, error, reload } = useListing({
    load: api.conversations,
    onLoading: () => dispatch({ type: 'loading' }),
    onLoaded: (items) => dispatch({ type: 'loaded', items }),
  })
  const latest = useRef(onIncoming)
  latest.current = onIncoming

  // On the client itself rather than useSSE, which tells the state but not how long the wait is.
  useEffect(() => {
    if (cursor === undefined) return
    const stream = createEventStream('/api/v1/sse/conversations', {
      cursor,
      token: session.token,
      onState: (change) =>
        setConnection((before) => ({
          ...change,
          again: before.again || change.state === 'open',
          ...(change.delayMs !== undefined && { retryAt: Date.now() + change.delayMs }),
        })),
    })
    stream.on('new_message', ({ data }) => {
      const { conversation, message } = JSON.parse(data) as NewMessageEvent
      dispatch({ type: 'changed', conversation })
      if (message.direction === 'in') latest.current(message, conversation)
    })
    stream.on('conversation_read', ({ data }) => {
      dispatch({ type: 'read', id: (JSON.parse(data) as ConversationReadEvent).conversation_id })
    })
    stream.on('sse.reset', reload)
    stream.on('sse.gap', reload)
    return () => stream.close()
  }, [cursor, session, reload])

  return {
    conversations: newestFirst(state),
    loaded: cursor !== undefined,
    error,
    connection,
    reload,
    markRead: (id) => dispatch({ type: 'read', id }),
  }
}

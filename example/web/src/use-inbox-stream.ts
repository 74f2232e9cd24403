/** The stream of the page, shared by all tabs of the user. Writes its events into the cache. */
import { useQueryClient } from '@tanstack/react-query'
import type { ClientStateChange } from 'express-sse-kit/client'
import { useSSE, useSSEState } from 'express-sse-kit/react'
import { useMemo, useState } from 'react'
import { reload, updateConversations, updateThread } from './inbox-cache.js'
import type { ConversationReadEvent, ConversationSummary, Message, NewMessageEvent } from './types.js'

const STREAM = '/api/v1/sse/conversations'

interface InboxEvents {
  readonly new_message: NewMessageEvent
  readonly conversation_read: ConversationReadEvent
}

export interface InboxStreamOptions {
  readonly user: string
  /**
   * The cursor of the list, so that the stream continues it without a gap. `undefined` until the list is loaded: no
   * stream.
   */
  readonly cursor: string | undefined
  readonly onIncoming: (message: Message, conversation: ConversationSummary) => void
}

/** Each event contains the message, so an open thread does not need its own stream. */
export function useInboxStream({ user, cursor, onIncoming }: InboxStreamOptions): void {
  const client = useQueryClient()
  const onMissed = (): void => void reload(client)
  useSSE<InboxEvents>(
    STREAM,
    {
      new_message: (event) => {
        const { message, conversation } = event.json()
        updateConversations(client, { type: 'changed', conversation })
        const own = message.direction === 'out' && message.from === user
        updateThread(client, conversation.id, { type: 'arrived', message, own })
        if (message.direction === 'in') onIncoming(message, conversation)
      },
      conversation_read: (event) => updateConversations(client, { type: 'read', id: event.json().conversation_id }),
      'sse.reset': onMissed,
      'sse.gap': onMissed,
    },
    { cursor, enabled: cursor !== undefined },
  )
}

/** The state that the indicator shows. */
export interface Connection extends ClientStateChange {
  /** Whether the connection was open before, so that `connecting` is a reconnect. */
  readonly isReconnect: boolean
  /** In state `waiting`: the time of the next attempt, in ms since 1970. */
  readonly retryAt: number | undefined
}

/** @param isListLoaded whether the list is loaded, and so the stream is enabled */
export function useConnection(isListLoaded: boolean): Connection {
  const change = useSSEState(STREAM)
  const [hasBeenOpen, setHasBeenOpen] = useState(false)
  if (change.state === 'open' && !hasBeenOpen) setHasBeenOpen(true)
  const retryAt = useMemo(() => (change.delayMs === undefined ? undefined : Date.now() + change.delayMs), [change])
  return { ...change, ...(!isListLoaded && { state: 'connecting' }), isReconnect: hasBeenOpen, retryAt }
}

/** The one stream of the page, and of all tabs of the user: what it brings goes into the cache. */
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
  /** The list's, so that nothing is missed between the two; `undefined` while there is no list: then there is no stream. */
  readonly cursor: string | undefined
  readonly onIncoming: (message: Message, conversation: ConversationSummary) => void
}

/** An event has the message itself, so an open thread needs no stream of its own. */
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

/** What the indicator shows. */
export interface Connection extends ClientStateChange {
  /** It has been open before, so `connecting` is a reconnect. */
  readonly again: boolean
  /** In state `waiting`: when the next attempt is made, in ms since 1970. */
  readonly retryAt: number | undefined
}

/** @param begun whether there is a list, and with it a stream */
export function useConnection(begun: boolean): Connection {
  const change = useSSEState(STREAM)
  const [again, setAgain] = useState(false)
  if (change.state === 'open' && !again) setAgain(true)
  const retryAt = useMemo(() => (change.delayMs === undefined ? undefined : Date.now() + change.delayMs), [change])
  return { ...change, ...(!begun && { state: 'connecting' }), again, retryAt }
}

/** The list of conversations. One tab stop; the arrow keys, Home and End move between rows. */
import type { KeyboardEvent, ReactNode } from 'react'
import { Avatar } from './marks.js'
import { shortAge } from './time.js'
import type { ConversationSummary } from './types.js'
import { useNow } from './use-now.js'
import { hrefOf } from './use-selection.js'

export interface ConversationListProps {
  readonly conversations: readonly ConversationSummary[]
  readonly selected: string | undefined
}

export function ConversationList({ conversations, selected }: ConversationListProps): ReactNode {
  const now = useNow(20_000)
  // The tab stop is the open conversation, otherwise the newest one.
  const tabStop = conversations.find(({ id }) => id === selected) ?? conversations[0]
  return (
    <ul className="conversations" data-testid="conversations" onKeyDown={onKeyDown}>
      {conversations.map((conversation) => (
        <li key={conversation.id}>
          <Row
            conversation={conversation}
            current={conversation.id === selected}
            tabIndex={conversation === tabStop ? 0 : -1}
            now={now}
          />
        </li>
      ))}
    </ul>
  )
}

function onKeyDown(event: KeyboardEvent<HTMLUListElement>): void {
  const rows = [...event.currentTarget.querySelectorAll('a')]
  const at = rows.findIndex((row) => row.contains(document.activeElement))
  const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key]
  if (at < 0 || next === undefined) return
  event.preventDefault()
  rows[next]?.focus()
}

interface RowProps {
  readonly conversation: ConversationSummary
  readonly current: boolean
  readonly tabIndex: number
  readonly now: number
}

function Row({ conversation, current, tabIndex, now }: RowProps): ReactNode {
  const { id, contact, provider, lastText, lastAt, unread } = conversation
  return (
    <a
      className="row"
      href={hrefOf(id)}
      tabIndex={tabIndex}
      aria-current={current ? 'true' : undefined}
      data-testid={`conversation-${id}`}
      data-unread={unread}
    >
      <Avatar name={contact} provider={provider} />
      <span className="name">{contact}</span>
      <time dateTime={lastAt}>{shortAge(lastAt, now)}</time>
      <span className="preview">{lastText}</span>
      {unread > 0 && (
        <span className="badge">
          {unread > 99 ? '99+' : unread}
          <span className="visually-hidden"> unread</span>
        </span>
      )}
    </a>
  )
}

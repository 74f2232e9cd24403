/** The messages of a conversation, grouped by day. Scrolls to new messages unless the reader has scrolled up. */
import { Fragment, type ReactNode, useEffect, useLayoutEffect, useRef, useState } from 'react'
import { Icon } from './marks.js'
import type { Thread } from './thread-state.js'
import { clockTime, dayName } from './time.js'
import type { Message } from './types.js'

export interface MessagesProps {
  readonly thread: Thread
  readonly user: string
  readonly onRetry: (key: string) => void
}

const NEAR_END_PX = 80

export function Messages({ thread: { messages, pending }, user, onRetry }: MessagesProps): ReactNode {
  const scroller = useRef<HTMLDivElement>(null)
  const atEnd = useRef(true)
  const [missed, setMissed] = useState(false)
  const lastId = messages.at(-1)?.id

  function toEnd(): void {
    const element = scroller.current
    element?.scrollTo({ top: element.scrollHeight })
  }

  function onScroll(): void {
    const element = scroller.current
    if (element === null) return
    atEnd.current = element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_END_PX
    if (atEnd.current) setMissed(false)
  }

  // biome-ignore lint/correctness/useExhaustiveDependencies: runs when there is a new last message
  useLayoutEffect(() => {
    if (atEnd.current) toEnd()
    else setMissed(true)
  }, [lastId])

  // biome-ignore lint/correctness/useExhaustiveDependencies: scrolls to the user's own new message
  useLayoutEffect(toEnd, [pending.length])

  // A phone's keyboard or a reply of several lines reduces the height of the list.
  useEffect(() => {
    const element = scroller.current
    if (element === null) return
    const observer = new ResizeObserver(() => {
      if (atEnd.current) element.scrollTo({ top: element.scrollHeight })
    })
    observer.observe(element)
    return () => observer.disconnect()
  }, [])

  return (
    <div className="messages-frame">
      <div
        className="messages"
        ref={scroller}
        onScroll={onScroll}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a scrollable element must be reachable with the keyboard
        tabIndex={0}
        role="log"
        aria-label="Messages"
        data-testid="messages"
      >
        {messages.map((message, index) => (
          <Fragment key={message.id}>
            <DayBreak message={message} before={messages[index - 1]} />
            <Bubble message={message} user={user} follows={isSameSender(messages[index - 1], message)} />
          </Fragment>
        ))}
        {pending.map(({ key, text, at, failed }) => (
          <div key={key} className="bubble out pending" data-failed={failed} data-testid="pending">
            <p>{text}</p>
            {failed ? (
              <button type="button" className="link" onClick={() => onRetry(key)}>
                Not sent. Try again
              </button>
            ) : (
              <footer>
                <time dateTime={at}>Sending…</time>
              </footer>
            )}
          </div>
        ))}
      </div>
      {missed && (
        <button type="button" className="to-end" onClick={toEnd}>
          <Icon name="down" /> New messages
        </button>
      )}
    </div>
  )
}

function DayBreak({ message, before }: { readonly message: Message; readonly before: Message | undefined }): ReactNode {
  const now = Date.now()
  const day = dayName(message.at, now)
  if (before !== undefined && dayName(before.at, now) === day) return null
  return (
    <div className="day">
      <span>{day}</span>
    </div>
  )
}

interface BubbleProps {
  readonly message: Message
  readonly user: string
  /** Whether it is grouped with the bubble above. */
  readonly follows: boolean
}

function Bubble({ message: { id, direction, text, from, at }, user, follows }: BubbleProps): ReactNode {
  return (
    <div className={`bubble ${direction}${follows ? ' follows' : ''}`} data-testid="message" data-message-id={id}>
      <p>{text}</p>
      <footer>
        {direction === 'out' && from !== user && <span>{from} · </span>}
        <time dateTime={at}>{clockTime(at)}</time>
      </footer>
    </div>
  )
}

const GROUPING_MS = 5 * 60_000

function isSameSender(before: Message | undefined, message: Message): boolean {
  if (before === undefined || before.direction !== message.direction || before.from !== message.from) return false
  return Date.parse(message.at) - Date.parse(before.at) < GROUPING_MS
}

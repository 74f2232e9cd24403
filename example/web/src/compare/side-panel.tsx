/** One side: the end of the open thread, each message with its delay, and the totals. */
import type { ReactNode } from 'react'
import { bytes, count, duration } from '../plots/format.js'
import { clockTime } from '../time.js'
import type { Cost, SideName, View } from './use-comparison.js'

export interface SidePanelProps {
  readonly name: SideName
  readonly title: string
  /** Describes its requests. */
  readonly how: string
  readonly view: View
  readonly cost: Cost | undefined
}

const LATEST = 6

export function SidePanel({ name, title, how, view: { shown, unread, trouble }, cost }: SidePanelProps): ReactNode {
  const facts = [
    { word: 'Requests', value: count(cost?.total.requests ?? 0), id: 'total' },
    { word: 'Bytes', value: bytes(cost?.total.bytes ?? 0), id: 'total-bytes' },
    { word: 'New messages', value: count(cost?.delays?.count ?? 0), id: 'count' },
    { word: 'Longest delay', value: cost?.delays === undefined ? '–' : duration(cost.delays.longestMs), id: 'longest' },
    { word: 'Unread', value: count(unread), id: 'unread' },
  ]
  const latest = shown.slice(-LATEST)
  return (
    <section className={`panel dashboard ${name}`} aria-labelledby={`${name}-title`} data-testid={name}>
      <header>
        <h2 id={`${name}-title`}>{title}</h2>
        {trouble !== undefined && (
          <p className="state trouble" role="status">
            {trouble}
          </p>
        )}
      </header>
      <p className="hint">{how}</p>
      <dl className="facts">
        {facts.map(({ word, value, id }) => (
          <div key={id}>
            <dt>{word}</dt>
            <dd data-testid={`${name}-${id}`}>{value}</dd>
          </div>
        ))}
      </dl>
      {latest.length === 0 && <p className="hint quiet">Nobody has written yet.</p>}
      <ol className="latest">
        {latest.map(({ message: { id, text, at }, delayMs }) => (
          <li key={id} data-message-id={id}>
            <time dateTime={at}>{clockTime(at)}</time>
            <span>{text}</span>
            {delayMs !== undefined && <strong>after {duration(delayMs)}</strong>}
          </li>
        ))}
      </ol>
    </section>
  )
}

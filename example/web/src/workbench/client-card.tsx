/** One client: its settings, the history of its stream, and its event counts. */
import { type ReactNode, useCallback } from 'react'
import type { ClientSettings } from '../../../server/workbench/settings.js'
import type { ClientPhaseSeen, ClientState, WorkbenchState } from '../../../server/workbench/state.js'
import { count, duration } from '../plots/format.js'
import { ClientSettingsForm } from './client-settings.js'
import type { ClientFrame, Frame } from './frames.js'
import { Plot } from './plot.js'
import type { SendCommand } from './use-workbench.js'

export interface ClientCardProps {
  readonly client: ClientState
  readonly presets: WorkbenchState['presets']
  readonly frames: readonly Frame[]
  readonly sendCommand: SendCommand
}

const PHASES: { readonly [phase in ClientPhaseSeen]: string } = {
  connecting: 'Connecting',
  stream: 'Stream',
  polling: 'Polling',
  waiting: 'Waiting',
  'cut-off': 'Cut off',
}

export function ClientCard({ client, presets, frames, sendCommand }: ClientCardProps): ReactNode {
  const { id, name, readBytesPerSecond, queuePolicy, queueEvents, pacing } = client
  const now = frames.at(-1)?.clients.get(id)
  const phase = now?.phase ?? 'connecting'
  const of = (frame: Frame): ClientFrame | undefined => frame.clients.get(id)
  const shade = (frame: Frame): string | undefined => {
    const then = of(frame)?.phase
    return then === 'polling' || then === 'waiting' || then === 'cut-off' ? then : undefined
  }
  const onChange = useCallback(
    (change: Partial<ClientSettings>) => void sendCommand('PATCH', `/clients/${id}`, change),
    [sendCommand, id],
  )
  const stalled = readBytesPerSecond === 0
  return (
    <article className="panel client" aria-labelledby={`name-${id}`} data-testid="client" data-phase={phase}>
      <header>
        <h3 id={`name-${id}`}>{name}</h3>
        <span className={`state ${phase}`} data-testid="phase">
          {PHASES[phase]}
        </span>
        <button
          type="button"
          className="round"
          aria-label={`Remove ${name}`}
          title="Remove"
          onClick={() => void sendCommand('DELETE', `/clients/${id}`)}
        >
          <svg className="icon" viewBox="0 0 20 20" aria-hidden="true">
            <path d="m5.5 5.5 9 9m0-9-9 9" />
          </svg>
        </button>
      </header>
      <div className="why">
        <p className="hint">{now === undefined ? 'Connecting' : explain(now, client)}</p>
        <button type="button" onClick={() => onChange({ readBytesPerSecond: stalled ? null : 0 })}>
          {stalled ? 'Resume' : 'Stall'}
        </button>
      </div>
      <div className="plots">
        <Plot
          label="Queue"
          tone="queue"
          frames={frames}
          value={(frame) => of(frame)?.queued}
          format={count}
          top={10}
          bound={queuePolicy === 'replay' ? undefined : queueEvents}
          shade={shade}
        />
        <Plot
          label="Lag"
          tone="lag"
          frames={frames}
          value={(frame) => of(frame)?.lag}
          beside={(frame) => of(frame)?.behind}
          format={count}
          top={10}
          shade={shade}
        />
        <Plot
          label="Drops a second"
          tone="drops"
          frames={frames}
          value={(frame) => of(frame)?.droppedPerSecond}
          format={count}
          top={10}
          shade={shade}
        />
        <Plot
          label="Tokens"
          tone="tokens"
          frames={frames}
          value={(frame) => of(frame)?.tokens}
          format={count}
          top={pacing?.capacity ?? 10}
          shade={shade}
        />
      </div>
      <Totals now={now} />
      <ClientSettingsForm client={client} presets={presets} onChange={onChange} />
    </article>
  )
}

function Totals({ now }: { readonly now: ClientFrame | undefined }): ReactNode {
  const reasons = Object.entries(now?.droppedBy ?? {}).map(([reason, dropped]) => `${reason}: ${count(dropped)}`)
  return (
    <dl className="totals">
      <Total name="Got" value={count(now?.got ?? 0)} id="got" />
      <Total
        name="Missed"
        value={count(now?.missed ?? 0)}
        title={`With priority high: ${count(now?.missedHigh ?? 0)}. Some may still wait in the queue.`}
        id="missed"
      />
      <Total name="Dropped" value={count(now?.dropped ?? 0)} title={reasons.join(', ')} id="dropped" />
      <Total
        name="Age"
        value={now?.latencyMs === null || now === undefined ? '–' : duration(now.latencyMs)}
        title="The age of the last event when the client received it"
        id="age"
      />
    </dl>
  )
}

interface TotalProps {
  readonly name: string
  readonly value: string
  readonly id: string
  readonly title?: string
}

function Total({ name, value, id, title }: TotalProps): ReactNode {
  return (
    <div title={title}>
      <dt>{name}</dt>
      <dd data-testid={id}>{value}</dd>
    </div>
  )
}

/** Explains the state of the client. */
function explain(now: ClientFrame, { window }: ClientState): string {
  switch (now.phase) {
    case 'connecting':
      return 'Opens its stream'
    case 'cut-off':
      return 'Ended by the server; the client has not read the end yet'
    case 'waiting':
      return `Waits before it reconnects (${now.reason})`
    case 'polling':
      return `Polls instead of streaming (${now.reason})`
    case 'stream':
      if (now.full) return 'Its socket is full: it does not read fast enough'
      if (window !== null && now.unacknowledged === window) return `Waits: ${window} events are not acknowledged`
      if ((now.lag ?? 0) > 0 || (now.queued ?? 0) > 0) return 'Waits for tokens'
      return now.returned > 0 ? `Up to date; returned from polling ${now.returned}×` : 'Up to date'
  }
}

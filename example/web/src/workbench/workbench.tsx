/** The page: controls on the left, the process and the clients on the right. */
import type { ClientState } from 'express-sse-kit/client'
import type { ReactNode } from 'react'
import { Logo } from '../marks.js'
import { ClientCard } from './client-card.js'
import { ProcessPanel } from './process-panel.js'
import { ProducerPanel } from './producer-panel.js'
import { Scenarios } from './scenarios.js'
import { useWorkbench } from './use-workbench.js'

const CONNECTION: { readonly [state in ClientState]?: string } = {
  open: 'Live',
  connecting: 'Connecting…',
  waiting: 'Reconnecting…',
  closed: 'Disconnected',
}

export function Workbench(): ReactNode {
  const { connection, state, frames, error, sendCommand } = useWorkbench()
  return (
    <div className="workbench">
      <header className="bar">
        <Logo />
        <div className="titles">
          <h1>Workbench</h1>
          <div className="connection" data-testid="connection" data-state={connection}>
            <span className="dot" aria-hidden="true" />
            <span role="status">{CONNECTION[connection] ?? connection}</span>
          </div>
        </div>
        <a className="button" href="/">
          Inbox
        </a>
      </header>
      {state !== undefined && (
        <>
          <aside aria-label="Controls">
            <Scenarios scenarios={state.scenarios} played={state.scenario} sendCommand={sendCommand} />
            <ProducerPanel producer={state.producer} sendCommand={sendCommand} />
          </aside>
          <main>
            <ProcessPanel frames={frames} maxQueuedBytes={state.maxQueuedBytes} />
            <div className="clients-bar">
              <h2>Clients</h2>
              <p className="hint">
                {state.clients.length} of {state.limits.clients}. The last 60 s. Thin lines: not handled by the client
                yet
              </p>
              <button
                type="button"
                disabled={state.clients.length >= state.limits.clients}
                onClick={() => void sendCommand('POST', '/clients', {})}
              >
                Add a client
              </button>
              <button type="button" onClick={() => void sendCommand('POST', '/stop')}>
                Stop all
              </button>
            </div>
            {error !== undefined && (
              <p className="notice" role="alert">
                {error}
              </p>
            )}
            {state.clients.length === 0 && (
              <p className="notice">Choose a scenario, or add a client and start the producer.</p>
            )}
            <div className="clients">
              {state.clients.map((client) => (
                <ClientCard
                  key={client.id}
                  client={client}
                  presets={state.presets}
                  frames={frames}
                  sendCommand={sendCommand}
                />
              ))}
            </div>
          </main>
        </>
      )}
    </div>
  )
}

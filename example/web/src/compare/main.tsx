/** The entry of the comparison: session ─► two sides, one polls and one streams ─► meter, delays ─► charts. */
import { type ReactNode, StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { SignIn } from '../sign-in.js'
import { useSession } from '../use-session.js'
import { ComparePage } from './compare-page.js'

function App(): ReactNode {
  const { session, busy, error, enter } = useSession()
  if (session === undefined) return <SignIn busy={busy} error={error} onSubmit={enter} />
  return <ComparePage key={`${session.tenant}/${session.user}`} session={session} />
}

const root = document.getElementById('root')
if (root === null) throw new Error('compare.html has no #root')
createRoot(root).render(
  <StrictMode>
    <App />
  </StrictMode>,
)

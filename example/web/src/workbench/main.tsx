/** The entry of the workbench: samples (SSE) ─► frames ─► plots; settings ─► REST. */
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { Workbench } from './workbench.js'

const root = document.getElementById('root')
if (root === null) throw new Error('workbench.html has no #root')
createRoot(root).render(
  <StrictMode>
    <Workbench />
  </StrictMode>,
)
